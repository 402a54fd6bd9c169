"""Write ONNX artifacts, plain and seeded, at every precision, each verified against the generator in torch."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import onnx

from gantool.artifact import hosts, inspection, latents, manifest
from gantool.artifact.manifest import Golden, Manifest, file_name
from gantool.errors import GantoolError, cause
from gantool.exporting import verify
from gantool.exporting.onnx_files import drift, graph, int8, optimize, precision
from gantool.exporting.onnx_files.portable import portable_model
from gantool.exporting.onnx_files.seeds import declare_output, ir_version, seeded_model
from gantool.exporting.source import Artifact, Options, Source, as_seeded, parity
from gantool.exporting.verify import Arrays, Check
from gantool.runtime import Generator
from gantool.system.terminal import doing

# Levels by which another host's pixels may differ from the golden ones: a GPU computes half in 16 bits, and other
# processors round the products of 8 bits elsewhere.
TOLERANCES = {"float32": 1, "half-weights": 1, "half": 8, "int8": 8}

Failures = dict[str, GantoolError]  # by the file that was not written


def tolerance(precision: str, dtype: str) -> int:
    """By how many levels golden samples of a dtype may differ: one is rounding, in 16 bits too."""
    levels = TOLERANCES[precision]
    return levels if levels == 1 else levels * latents.FINENESS.get(dtype, 1)


def write_onnx(
    source: Source, kinds: Sequence[str], options: Options, inputs: Arrays, folder: Path, say: Callable[[str], None]
) -> tuple[tuple[Golden, ...], list[Artifact], Failures]:
    """Write the files of `kinds` and `options`; one that fails costs no other precision.

    Returns the golden images for torch's files (of the plain file that has their weights), the files, and the errors.
    `inputs`: what files are verified with (`verify.reference_inputs`).
    """
    try:
        exported, model, rewrites = _graphs(source, options, inputs, say)
        about = dataclasses.replace(
            source.about,
            opset=options.opset,
            batch=options.batch,
            optimize={"enabled": options.optimize, "rewritten": [dataclasses.asdict(layer) for layer in rewrites]},
        )
        writer = _Writer(dataclasses.replace(source, about=about), kinds, options, inputs, folder, say, exported, model)
        plain = writer.plain()  # always made: the others are compared with it
    except GantoolError as error:
        return (), [], {file_name("onnx"): error}
    if "onnx" in kinds:
        for what in graph.other_in_openvino(model):
            say(f"OpenVINO computes {what} otherwise, and raises no error: use ONNX Runtime for this generator")
    models, plains = {"float32": model}, {"float32": plain}
    wanted: list[Artifact] = []
    failed: Failures = {}
    for name in options.precisions:
        try:
            if name != "float32":
                say(f"{name}: converting and measuring")
                models[name] = writer.converted(name)
                plains[name] = writer.reduced(models[name], name)
            if "onnx" in kinds:
                wanted.append(plains[name])
        except GantoolError as error:
            failed[file_name("onnx", name)] = error
            continue
        for kind in ("onnx-seeded", "onnx-portable"):
            try:
                if kind in kinds:
                    wanted.append(writer.seeded(kind, models[name], name, plains[name]))
            except GantoolError as error:
                failed[file_name(kind, name)] = error
    shared = plains.get(options.torch)
    return shared.manifest.golden if shared else (), wanted, failed


def _graphs(
    source: Source, options: Options, inputs: Arrays, say: Callable[[str], None]
) -> tuple[onnx.ModelProto, onnx.ModelProto, list[optimize.Rewrite]]:
    """The generator's graph as torch exports it, as its file has it, and which layers were rewritten in between."""
    doing("exporting the generator's graph")
    exported = graph.to_onnx(source.generator, source.inputs, source.output, options.opset)
    model, rewrites = optimize.optimize(exported, inputs, say) if options.optimize else (exported, [])
    return exported, model, rewrites


@dataclasses.dataclass(frozen=True)
class _Writer:
    """Writes files of one generator to a folder."""

    source: Source
    kinds: Sequence[str]
    options: Options
    inputs: Arrays
    folder: Path
    say: Callable[[str], None]
    exported: onnx.ModelProto  # as torch exports it
    model: onnx.ModelProto  # as the float32 file has it

    def plain(self) -> Artifact:
        path = self.folder / file_name("onnx")
        about = dataclasses.replace(self.source.about, weights_sha256=inspection.weights_sha256(self.model))
        doing(f"writing {path.name}")
        runtime = self._save(self.model, about, path)
        doing(f"comparing {path.name} with PyTorch")
        checks = verify.check_float("onnx", self.source.generator, runtime.run, self.inputs, self.source.picture)
        return self._finish(self.model, about, runtime, checks)

    def converted(self, name: str) -> onnx.ModelProto:
        """The graph of a lower precision."""
        if name == "half":
            return precision.half(self.model)
        if name == "int8":
            source = self.source
            return int8.int8(self.exported, int8.calibration_feeds(source.inputs, source.rows, source.statistics))
        rounded = self.source.rounded()
        _, model, _ = _graphs(rounded, self.options, self.inputs, self.say)
        return precision.half_weights(model, precision.channel_factors(rounded.generator))

    def reduced(self, model: onnx.ModelProto, name: str) -> Artifact:
        """A plain file of a lower precision: compared with the float32 graph, within limits of its own."""
        path = self.folder / file_name("onnx", name)
        about = dataclasses.replace(
            self.source.about,
            precision=name,
            tolerance=tolerance(name, self.source.about.output.levels),
            weights_sha256=inspection.weights_sha256(model),
        )
        doing(f"writing {path.name}")
        self._write(model, about, path)
        doing(f"opening {path.name} in another process")
        verify.check_opens(path)  # in another process, before this one opens it
        runtime = Generator(path)
        doing(f"comparing {path.name} with the float32 graph")
        samples = verify.reference_inputs(self.source.inputs, self.source.statistics, self.source.rows)
        computed = precision.half_as_computed(model) if name == "half" else model
        checks = drift.checks(path.name, name, drift.compare(self.model, computed, samples))
        if name == "int8" and self.options.force:
            checks = [dataclasses.replace(check, waived=not check.passed) for check in checks]
        alone = verify.MAX_FLOAT if name == "half-weights" else (TOLERANCES[name] + 0.5) / 127.5
        for where, part in verify.at_sizes(self.inputs, self.source.picture):
            checks.append(verify.check_alone(path.name, runtime.run, part, alone, where))
        return self._finish(model, about, runtime, checks)

    def seeded(self, kind: str, plain_model: onnx.ModelProto, name: str, plain: Artifact) -> Artifact:
        """A file of `kind`, onnx-seeded or onnx-portable: its pixels are those of the `plain` file."""
        path = self.folder / file_name(kind, name)
        source = self.source
        doing(f"writing {path.name}")
        normals = [(i.name, i.shape) for i in source.normals]
        if kind == "onnx-portable":
            model = portable_model(plain_model, normals)
        else:
            pictures = [source.picture.name] if source.picture else ()
            model = seeded_model(plain_model, normals, pictures=pictures)
        about = as_seeded(plain.manifest, kind)
        declare_output(model, about.output_axes)
        about = dataclasses.replace(about, weights_sha256=inspection.weights_sha256(model))
        seeded, twin = self._save(model, about, path), Generator(plain.path)

        def sample(inputs: Arrays, first: int, count: int, generator: Generator = seeded) -> np.ndarray:
            """With seed 1, as the reference inputs that torch gets."""
            values = {i.name: inputs[i.name][first : first + count] for i in about.values}
            if source.picture is None:
                return generator.sample(count, 1, first, values=values)
            pictures = latents.pixels(inputs[source.picture.name][first : first + count])
            return np.asarray(generator.translate(pictures, 1, first, values=values))

        doing(f"comparing {path.name} with PyTorch")
        checks: list[Check] = []
        if name == "float32":
            checks = verify.check_levels(kind, source.generator, sample, self.inputs, source.picture)
        for where, part in verify.at_sizes(self.inputs, source.picture):
            what, count = f"to {plain.path.name}{where}", verify.batches(part)[-1]
            checks.append(verify.check_equal(path.name, what, sample(part, 0, count), sample(part, 0, count, twin)))
        return self._finish(model, about, seeded, checks)

    def _finish(self, model: onnx.ModelProto, about: Manifest, runtime: Generator, checks: list[Check]) -> Artifact:
        """Save again, with what was measured and the golden images that the file itself makes."""
        verify.demand(checks)
        doing(f"making the golden samples of {runtime.path.name}")
        golden = verify.goldens(runtime) if self.source.seedable else ()
        about = dataclasses.replace(about, parity=parity(checks), golden=golden)
        runtime = self._save(model, about, runtime.path)
        verify.self_test(runtime)
        return Artifact(runtime.path, runtime.manifest, tuple(checks))

    def _save(self, model: onnx.ModelProto, about: Manifest, path: Path) -> Generator:
        """Write the file, and open it as an app does."""
        self._write(model, about, path)
        return Generator(path)

    def _write(self, model: onnx.ModelProto, about: Manifest, path: Path) -> None:
        written = onnx.ModelProto()
        written.CopyFrom(model)
        if self.options.batch is not None:
            graph.fix_batch(written, self.options.batch)
        newest = hosts.newest_ir(self.options.hosts)
        if newest is not None:
            written.ir_version = ir_version(self.options.opset, newest)
        if about.kind in self.kinds and about.precision in self.options.precisions:
            for name in self.options.hosts:
                hosts.demand(name, written, about.kind, path.name)
        digest = hashlib.sha256(written.graph.SerializeToString()).hexdigest()
        about = dataclasses.replace(about, graph_sha256=digest)
        del written.metadata_props[:]
        onnx.helper.set_model_props(written, {manifest.KEY: about.to_json()})
        onnx.checker.check_model(written, full_check=True)
        try:
            onnx.save_model(written, str(path))  # one file: below 2 GB nothing is stored outside
        except ValueError as error:  # protobuf's own limit
            raise GantoolError(f"The graph is larger than the 2 GB of an ONNX file: {cause(error)}.") from error
