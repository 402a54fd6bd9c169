"""`Maker` makes shards: the work of one worker, the same for every engine."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from gantool.errors import GantoolError
from gantool.shards.plan import Made, Plan, Shard, optional_library
from gantool.system.files import DISK_FULL

if TYPE_CHECKING:
    from gantool.artifact.manifest import Manifest
    from gantool.runtime import Generator
    from gantool.shards.formats import Parts


class Maker:
    """Makes shards of `plan` in the folder `out`, one after another, from the exported file `artifact`.

    The file is opened for the first shard, on one thread. It must be the plan's file, and reproduce its golden images
    on this machine.
    """

    def __init__(self, plan: Plan, artifact: Path, out: Path) -> None:
        self.plan, self.artifact, self.out = plan, artifact, out

    @cached_property
    def generator(self) -> Generator:
        from gantool.runtime import Generator

        here = versions(self.plan.format)
        if here != self.plan.versions:
            raise GantoolError(
                f"A worker has {_listed(here)}; the shards are made with {_listed(self.plan.versions)}.",
                "Install the same versions everywhere.",
            )
        provider = self.plan.provider
        # ONNX Runtime uses TF32 on CUDA by default: golden images of a sharp generator could differ by two levels
        settings = {"use_tf32": "0"} if provider == "cuda" else None
        generator = Generator(self.artifact, provider, threads=1, settings=settings)
        if manifest_digest(generator.manifest) != self.plan.manifest_sha256:
            raise GantoolError(f"{self.artifact} was exported anew meanwhile.", "Generate into another folder: --out")
        generator.self_test()
        return generator

    def make(self, shard: Shard, on_part: Callable[[int], object] = lambda done: None) -> Made:
        """Write the shard to a temporary file, then rename it. `on_part` gets the number of images made so far.

        GantoolError: the disk is full or not writable, or the artifact can't be run.
        """
        from gantool.artifact import provenance
        from gantool.shards import formats
        from gantool.system import files

        path = self.out / shard.name
        manifest = self.generator.manifest
        origin = None
        if self.plan.provenance:
            origin = provenance.of(manifest, self.plan.seed, shard.first, values=self.plan.values)
        try:
            with files.replacing(path) as temporary:
                formats.write(temporary, self.plan, shard, self._parts(shard, on_part), origin, manifest.output.rate)
                made = Made(shard.number, temporary.stat().st_size, files.sha256_of(temporary), os.getpid())
        except OSError as error:
            raise write_error(path, error) from error
        return made

    def _parts(self, shard: Shard, on_part: Callable[[int], object]) -> Parts:
        for first, count in self.plan.parts(shard):
            labels = self.plan.labels_of(first, count)
            images = self.generator.sample(count, self.plan.seed, first, labels, values=self.plan.values)
            yield first, images, labels
            on_part(first + count - shard.first)


def write_error(path: Path, error: OSError) -> GantoolError:
    """The error to raise when a file of the shards' folder can't be written."""
    hint = "Free space" if error.errno in DISK_FULL else "Make the folder writable"
    return GantoolError(
        f"{path} can't be written: {error.strerror or error}.",
        f"{hint}, then type the same command again: finished shards are kept.",
    )


def versions(format: str) -> dict[str, str]:
    """The versions of the libraries that the bytes of a shard depend on."""
    import onnxruntime

    from gantool import __version__

    found = {"gantool": __version__, "onnxruntime": onnxruntime.__version__}
    if format in ("png-tar", "parquet"):
        import PIL

        found["pillow"] = PIL.__version__
    if format == "glb-tar":
        found["scikit-image"] = optional_library("skimage", "volume").__version__
    if format == "parquet":
        found["pyarrow"] = optional_library("pyarrow", "parquet").__version__
    return found


def manifest_digest(manifest: Manifest) -> str:
    """SHA-256 of the manifest, which includes the digest of the file's graph."""
    return hashlib.sha256(manifest.to_json().encode()).hexdigest()


def _listed(found: dict[str, str]) -> str:
    return ", ".join(f"{name} {version}" for name, version in found.items())
