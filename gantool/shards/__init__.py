"""Generate very many images of one seed as files of equal size (shards), with many workers. Light to import."""

from gantool.shards.generating import ENGINES, SHARD_SIZE, Progress, Summary, generate
from gantool.shards.plan import FORMATS, WorkerLost

__all__ = ["ENGINES", "FORMATS", "SHARD_SIZE", "Progress", "Summary", "WorkerLost", "generate"]
