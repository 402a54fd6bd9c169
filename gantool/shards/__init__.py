"""Many images of one seed as files of equal size, made by many workers: `generate`. Light to import."""

from gantool.shards.folder import finished
from gantool.shards.generating import ENGINES, Progress, Summary, generate
from gantool.shards.plan import FORMATS

__all__ = ["ENGINES", "FORMATS", "Progress", "Summary", "finished", "generate"]
