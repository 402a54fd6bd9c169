"""`generate`: from an exported file to a folder of shards; and how far it is."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gantool.errors import GantoolError
from gantool.shards.maker import manifest_digest, versions
from gantool.shards.plan import MAX_RETRIES, Event, Made, Part, Plan, WorkerLost, choose_labels

if TYPE_CHECKING:
    from gantool.artifact.manifest import Manifest

ENGINES = ("local", "ray")
SHARD_SIZE = 10_000  # images: 123 MB of 64×64 in colour


@dataclass(frozen=True)
class Summary:
    """What is in the folder now: `bytes` of all `shards`; `made` of them by this call, with `images_made` images.

    `damaged`: shards that index.json named and that were gone or changed, and were made again. `lost`: workers.
    """

    shards: int
    images: int
    bytes: int
    made: int
    images_made: int
    seconds: float
    damaged: tuple[str, ...]
    lost: int


@dataclass
class Progress:
    """Of `total` images, `found` were there at the start; shards likewise. `event`: the latest."""

    total: int
    shards_total: int
    found: int
    shards_found: int
    made: int = 0
    shards_made: int = 0
    lost: int = 0
    event: Event | None = None
    _parts: dict[int, int] = field(default_factory=dict)

    @property
    def images(self) -> int:
        """Images made by this call, including those of unfinished shards."""
        return self.made + sum(self._parts.values())

    def update(self, event: Event, count: int) -> None:
        """`count`: images in the shard that the event is about."""
        self.event = event
        if isinstance(event, Part):
            self._parts[event.number] = event.done
            return
        self._parts.pop(event.number, None)
        if isinstance(event, Made):
            self.made += count
            self.shards_made += 1
        else:
            self.lost += 1


def generate(
    artifact: Path,
    out: Path,
    *,
    count: int,
    seed: int = 0,
    first: int = 0,
    format: str = "npy",
    shard_size: int = SHARD_SIZE,
    labels: Sequence[int] | None = None,
    values: Mapping[str, float] | None = None,
    provider: str = "cpu",
    provenance: bool = True,
    engine: str = "local",
    workers: int | None = None,
    address: str | None = None,
    gather: bool | None = None,
    verify: bool = False,
    on_progress: Callable[[Progress], object] | None = None,
) -> Summary:
    """Write images `first … first+count-1` of `seed` as files of `shard_size` images in the folder `out`.

    The bytes of the files do not depend on the engine or the number of workers. Called again with the same arguments,
    it makes what is missing; `verify` compares the SHA-256 of the files that are there.
    `format`: npy (arrays (n, …, C) as of `Generator.sample`), png-tar, wav-tar, glb-tar or parquet of PNGs. `labels`:
    image i has the class labels[i % len(labels)]; None: i % classes. `values`: as `Generator.sample` takes them, a
    number each. `workers`: processes, or Ray's actors; None: one for each core or GPU. `address`: of a Ray cluster.
    `gather`: whether its machines send their shards here; None: those that do not share the folder `out`. As with
    multiprocessing, a script that calls this must guard its main part.

    GantoolError: an argument is wrong or does not fit the file; `out` is not writable or holds the shards of another
    call; a shard lost its worker too often.
    """
    from gantool.artifact import onnxfile
    from gantool.runtime.inputs import parse_values
    from gantool.runtime.session import PROVIDERS
    from gantool.shards import folder

    if engine not in ENGINES:
        raise GantoolError(f"There is no engine {engine!r}.", f"Use one of {', '.join(ENGINES)}.")
    if provider not in PROVIDERS:
        raise GantoolError(f"There is no provider {provider!r}.", f"Use one of {', '.join(PROVIDERS)}.")
    if workers is not None and workers < 1:
        raise GantoolError(f"{workers} workers were asked for.", "Give 1 or more.")
    manifest = onnxfile.read_manifest(artifact)
    item = manifest.input("label")
    plan = Plan(
        manifest_sha256=manifest_digest(manifest),
        seed=seed,
        first=first,
        count=count,
        shard_size=shard_size,
        format=format,
        shape=_shape(manifest, artifact),
        labels=choose_labels(labels, 0 if item is None else item.classes),
        provider=provider,
        provenance=provenance,
        versions=versions(format),
        values=dict(values or {}),
    )
    plan.check()
    parse_values(values, 1, manifest, artifact)  # refuses what is none
    with folder.opened(out, plan, _about(manifest, plan), verify) as there:
        todo = there.unfinished()
        missing = sum(shard.count for shard in todo)
        progress = Progress(plan.count, len(plan), plan.count - missing, len(plan) - len(todo))
        lost: Counter[int] = Counter()

        def report(event: Event) -> None:
            shard = plan.shard(event.number)
            if isinstance(event, Made):
                there.add(event)
            elif isinstance(event, WorkerLost):
                lost[event.number] += 1
                if lost[event.number] > MAX_RETRIES:
                    raise GantoolError(
                        f"{shard.name} ({shard.first} … {shard.first + shard.count - 1}) was tried "
                        f"{MAX_RETRIES + 1} times, and its worker was lost each time: the last {event.why}.",
                        "If memory ran out, use fewer --workers. The same command continues; finished shards are kept.",
                    )
            progress.update(event, shard.count)
            if on_progress is not None:
                on_progress(progress)

        start = time.monotonic()
        if todo and engine == "ray":
            from gantool.shards import ray_cluster

            ray_cluster.run(plan, artifact, out, todo, workers, report, address, gather)
        elif todo:
            from gantool.shards import processes

            processes.run(plan, artifact, out, todo, workers, report)
        return Summary(
            shards=len(plan),
            images=plan.count,
            bytes=sum(shard["bytes"] for shard in there.finished.values()),
            made=len(todo),
            images_made=missing,
            seconds=time.monotonic() - start,
            damaged=tuple(there.damaged),
            lost=progress.lost,
        )


def _shape(manifest: Manifest, path: Path) -> tuple[int, ...]:
    """The shape of a sample in whole numbers; GantoolError when the file makes none."""
    output = manifest.output
    if not output.levels or min(output.shape) < 1:
        raise GantoolError(
            f"{path} makes no images, sounds or volumes but samples of {output.shape}.", "Export it again."
        )
    return output.channels_last


def _about(manifest: Manifest, plan: Plan) -> dict[str, Any]:
    """For readers of index.json: which model made the images and, unless switched off, their provenance."""
    from gantool.artifact import provenance

    about: dict[str, Any] = {"kind": manifest.kind, "precision": manifest.precision}
    if plan.provenance:
        record = provenance.of(manifest, plan.seed, plan.first, plan.count)
        about["provenance"] = json.loads(record.to_json())
    return about
