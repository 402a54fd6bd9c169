"""`pack`: from any source of images to a pack, streamed; interrupted, the same call goes on."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from gantool.data.pack.format import FIRST_BROKEN, Description, describe
from gantool.data.pack.partial import Partial
from gantool.data.pack.plan import Options, open_source
from gantool.data.pack.sources import ArraySource, FolderSource
from gantool.data.pack.writer import BROKEN, Mark, Writer
from gantool.data.readers.folder import SizesDiffer
from gantool.errors import GantoolError

__all__ = ["BrokenFiles", "Options", "Progress", "Summary", "first_broken", "pack"]

_LINE = 110  # bytes in files.jsonl beside the name


@dataclass(frozen=True)
class Progress:
    """`done` of `total` files or rows, of which `found` were there when this call began; `broken` of them broken."""

    done: int
    total: int
    found: int
    broken: int


@dataclass(frozen=True)
class Summary:
    """The finished pack: what its `pack.json` says, its bytes, and the seconds and items that this call took."""

    description: Description
    bytes: int
    seconds: float
    done: int


class BrokenFiles(GantoolError):
    """Files can't be decoded. `listed`: a file of JSON lines with `file` and `reason` of each."""

    def __init__(self, listed: Path, count: int, of: int) -> None:
        self.listed, self.count = listed, count
        named = "".join(f"\n  {each['file']} {each['reason']}" for each in first_broken(listed))
        more = f"\n  … and {count - FIRST_BROKEN:,} more" if count > FIRST_BROKEN else ""
        super().__init__(
            f"{count:,} of {of:,} files can't be used:{named}{more}",
            f"All of them are listed in {listed}. Mend or remove them, or add --skip-broken: it goes on at the end.",
        )


def pack(
    source: str,
    out: Path,
    options: Options | None = None,
    *,
    workers: int | None = None,
    on_progress: Callable[[Progress], object] = lambda progress: None,
    on_note: Callable[[str], object] = lambda note: None,
) -> Summary:
    """Pack `source` into the folder `out`, which must not exist.

    Resident memory does not grow with the images; a million names of files take about 300 MB. Whatever ends it, the
    same call goes on, and the result is the same bytes. GantoolError for what can't be packed; BrokenFiles after all
    were tried.
    """
    options = options or Options()
    partial = Partial(out)
    start = time.monotonic()
    with partial.held():
        described, plan, prepared = open_source(source, options)
        mark = partial.begin(plan)
        if partial.note:
            on_note(partial.note)
        origin, found = prepared(partial.found if mark else {}, workers)
        partial.complete(plan, found, origin.layouts)
        partial.check_space(origin.layouts, origin.count, mark, _list_bytes(origin))
        began = mark or Mark()
        with Writer(partial.rows, origin.layouts, origin.count, mark) as writer:
            on_progress(Progress(began.done, origin.count, began.done, began.broken))
            try:
                for batch in origin.batches(began.done):
                    committed = writer.append(batch)
                    if committed:
                        partial.note_mark(committed)
                    on_progress(Progress(batch.done, origin.count, began.done, writer.mark.broken))
            except SizesDiffer:
                partial.clear()
                raise
            except (KeyboardInterrupt, GantoolError):
                partial.note_mark(writer.commit())
                raise
            partial.note_mark(writer.commit())
            if writer.mark.broken and (not options.skip_broken or not writer.mark.rows):
                raise BrokenFiles(partial.rows / BROKEN, writer.mark.broken, origin.count)
            written = writer.finish()
        if written.mark.broken:
            described["broken_first"] = first_broken(partial.rows / BROKEN)
        description = describe(partial.rows, written, **described)
        size = sum(path.stat().st_size for path in partial.rows.iterdir())
        partial.finish()
    return Summary(description, size, time.monotonic() - start, written.mark.done - began.done)


def first_broken(listed: Path, most: int | None = FIRST_BROKEN) -> list[dict[str, str]]:
    """`file` and `reason` of the first `most` lines of a broken.jsonl; None: of all."""
    with listed.open("rb") as file:
        lines = file if most is None else (line for _, line in zip(range(most), file, strict=False))
        return [json.loads(line) for line in lines]


def _list_bytes(origin: ArraySource | FolderSource) -> int:
    """What files.jsonl will take."""
    if isinstance(origin, ArraySource):
        return 0
    return sum(len(name) for name in origin.names) + _LINE * origin.count
