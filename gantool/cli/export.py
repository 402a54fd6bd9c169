"""`gantool export`: a run's generator as verified files."""

from __future__ import annotations

import itertools
import shlex
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gantool.errors import GantoolError
from gantool.system.terminal import console, megabytes, print_json, print_table, status

if TYPE_CHECKING:
    from gantool.exporting import Artifact


FILES, ONNX, EMBED = "Which files", "How ONNX files are written", "Whole folders for other programs"


def command(
    run: Annotated[str | None, typer.Argument(help="A run: path, folder name or number. Default: the newest.")] = None,
    onnx: Annotated[
        bool, typer.Option("--onnx", help="generator.onnx: z → samples, float32.", rich_help_panel=FILES)
    ] = False,
    seeded: Annotated[
        bool,
        typer.Option(
            "--seeded", help="generator.seeded.onnx: seed, index → samples in whole numbers.", rich_help_panel=FILES
        ),
    ] = False,
    portable: Annotated[
        bool,
        typer.Option(
            "--portable",
            help="generator.portable.onnx: the same without 64-bit integers, float32, for any runtime.",
            rich_help_panel=FILES,
        ),
    ] = False,
    torchscript: Annotated[
        bool,
        typer.Option("--torchscript", help="generator.torchscript.pt, for LibTorch.", rich_help_panel=FILES),
    ] = False,
    torchscript_seeded: Annotated[
        bool,
        typer.Option(
            "--torchscript-seeded",
            help="generator.seeded.torchscript.pt: seed, index → samples in whole numbers, for LibTorch.",
            rich_help_panel=FILES,
        ),
    ] = False,
    pt2: Annotated[
        bool, typer.Option("--pt2", help="generator.pt2, torch.export's archive.", rich_help_panel=FILES)
    ] = False,
    half_weights: Annotated[
        bool,
        typer.Option(
            "--half-weights", help="Weights stored in 16 bits, computed in 32: half the file.", rich_help_panel=ONNX
        ),
    ] = False,
    half: Annotated[
        bool, typer.Option("--half", help="Computed in 16 bits, norms in 32: for GPUs.", rich_help_panel=ONNX)
    ] = False,
    int8: Annotated[
        bool,
        typer.Option(
            "--int8", help="Static 8-bit quantisation, for CPUs; refused when off by too much.", rich_help_panel=ONNX
        ),
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Write an --int8 file though it is off by too much.", rich_help_panel=ONNX)
    ] = False,
    optimize: Annotated[
        bool,
        typer.Option(
            "--optimize/--no-optimize",
            help="Clean the graph, and rewrite layers that run faster as matrix products.",
            rich_help_panel=ONNX,
        ),
    ] = True,
    hosts: Annotated[
        list[str] | None,
        typer.Option(
            "--for",
            metavar="HOST",
            help="Choose kind, opset and batch for unity, unity-2.6, tensorrt, openvino, webgpu, coreml, litert, ncnn, "
            "tract, unreal or godot, and refuse what it can't take. Several: --for unity --for tract.",
            rich_help_panel=ONNX,
            show_default=False,
        ),
    ] = None,
    opset: Annotated[
        int | None,
        typer.Option(help="ONNX opset, 13 to 25. Default: 18, or what --for takes.", rich_help_panel=ONNX),
    ] = None,
    batch: Annotated[
        int | None,
        typer.Option(min=1, help="Fix the batch, for hosts that want one. Default: any.", rich_help_panel=ONNX),
    ] = None,
    app: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="An app kit: Python, Node, web, C++, a page to play with. No gantool needed there.",
            rich_help_panel=EMBED,
        ),
    ] = None,
    full: Annotated[
        bool,
        typer.Option(
            "--full",
            help="32-bit weights in the --app kit: twice the size. Default of sounds and volumes.",
            rich_help_panel=EMBED,
        ),
    ] = False,
    triton: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="A model in the Triton model repository DIR.", rich_help_panel=EMBED),
    ] = None,
    c: Annotated[
        Path | None,
        typer.Option(
            "--c", metavar="DIR", help="C99 sources and weights: needs no runtime at all.", rich_help_panel=EMBED
        ),
    ] = None,
    bench: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="With --triton: `gantool bench --json` output; its best batches are preferred.",
            rich_help_panel=EMBED,
        ),
    ] = None,
    output: Annotated[Path | None, typer.Option("-o", "--output", help="Folder. Default: the run's export/.")] = None,
    step: Annotated[
        str | None, typer.Option(metavar="N|best", help="A checkpoint: of step N, or the best by --keep-best.")
    ] = None,
    which: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="One of several generators of a run. Default: all, each in a folder of its name; for a kit the first.",
            show_default=False,
        ),
    ] = "",
    provenance: Annotated[
        bool,
        typer.Option(
            "--provenance/--no-provenance", help="Files saved by the kit's programs say that a model made them."
        ),
    ] = True,
    runs: Annotated[Path, typer.Option(help="Folder of the runs.")] = Path("runs"),
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Print each check with its value and limit, inputs and outputs.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Export a run's generator as verified files. Default: generator.onnx, the seeded one and TorchScript."""
    from gantool import exporting
    from gantool.artifact.hosts import settle
    from gantool.exporting.onnx_files.seeds import OPSET
    from gantool.run import rundir

    flags = {
        "onnx": onnx,
        "onnx-seeded": seeded,
        "onnx-portable": portable,
        "torchscript": torchscript,
        "torchscript-seeded": torchscript_seeded,
        "pt2": pt2,
    }
    kinds = [kind for kind, wanted in flags.items() if wanted]
    reduced = tuple(name for name, on in (("half-weights", half_weights), ("half", half), ("int8", int8)) if on)
    usage(full and not app, "--full needs --app DIR")
    usage(not provenance and not app, "--no-provenance needs --app DIR: its programs save files")
    usage(bench is not None and not triton, "--bench needs --triton DIR")
    usage(force and not int8, "--force needs --int8")
    if kinds and not (onnx or seeded or portable) and not (app or triton or c):
        given = {"--half": half, "--int8": int8, "--batch": batch is not None}
        given |= {"--opset": opset not in (None, OPSET), "--no-optimize": not optimize}
        for name in (name for name, on in given.items() if on):
            usage(True, f"{name} is for ONNX files: add --onnx or --seeded")
    folders = {"--output": output if kinds else None, "--app": app, "--triton": triton, "--c": c}
    for (one, first), (two, second) in itertools.combinations(folders.items(), 2):
        nested = first and second and (within(first, second) or within(second, first))
        usage(bool(nested), f"{one} {first} and {two} {second} overlap: name two separate folders")
    usage(bool(hosts) and bool(app or triton or c), "--for is for ONNX files: leave --app, --triton and --c out")
    opset, batch = settle(hosts or (), opset, batch, reduced, kinds)
    options = exporting.Options(
        reduced or ("float32",), optimize, OPSET if opset is None else opset, batch, force, tuple(hosts or ())
    )
    chosen = rundir.find(runs, run) if run else rundir.newest(runs)
    progress = console(stderr=True)
    progress.print(f"exporting {chosen.path} and verifying what comes out …")

    def say(note: str) -> None:
        progress.print(f"note: {note}")

    report: list[dict[str, object]] = []
    failed: exporting.PartialExport | None = None
    with ending():
        if kinds or not (app or triton or c):
            try:
                with status():
                    artifacts = exporting.export_run(chosen, kinds or None, output, say, step, options, which)
            except exporting.PartialExport as error:
                artifacts, failed = error.artifacts, error
            report += [_as_json(artifact) for artifact in artifacts]
            if not as_json:
                _show(artifacts, verbose)
        if app:
            with status():
                files = exporting.export_app(
                    chosen, app, say, step, options, full=full, provenance=provenance, which=which
                )
            report += [{"file": str(path), "kind": "app", "bytes": path.stat().st_size} for path in files]
            if not as_json:
                _show_app(app, files)
        if triton:
            with status():
                files = exporting.export_triton(chosen, triton, say, step, options, bench=bench, which=which)
            report += [{"file": str(path), "kind": "triton", "bytes": path.stat().st_size} for path in files]
            if not as_json:
                _show_triton(triton, files)
        if c:
            with status():
                files = exporting.export_c(chosen, c, say, step, options, which=which)
            report += [{"file": str(path), "kind": "c", "bytes": path.stat().st_size} for path in files]
            if not as_json:
                _show_folder(c, files)
                console().print(f"Build it, and check its samples: make -C {shlex.quote(str(c))} check")
    if as_json:
        print_json(report)
    if failed:
        raise failed


def usage(wrong: bool, message: str) -> None:
    """Raise a usage error if something is `wrong`."""
    if wrong:
        raise typer.BadParameter(message)


def within(inner: Path, outer: Path) -> bool:
    return inner.resolve().is_relative_to(outer.resolve())


@contextmanager
def ending() -> Iterator[None]:
    """SIGTERM ends the command like an error: temporary files are removed."""

    def stop(number: int, frame: object) -> None:
        sys.exit(128 + number)

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _show_app(folder: Path, files: Sequence[Path]) -> None:
    _show_folder(folder, files)
    console().print(
        f"Play with it: open {shlex.quote(str(folder / 'playground.html'))} in a browser, by a double click.\n"
        f"Use it: {shlex.quote(str(folder / 'README.md'))} has the lines for Python, Node, web pages and C++."
    )


def _show_triton(folder: Path, files: Sequence[Path]) -> None:
    _show_folder(folder, files)
    (readme,) = (path for path in files if path.name == "README.md")
    console().print(f"Serve it: {shlex.quote(str(readme))} has the line.")


def _show_folder(folder: Path, files: Sequence[Path]) -> None:
    rows = [[str(path.relative_to(folder)), megabytes(path.stat().st_size)] for path in files]
    print_table(["file", "size"], rows, title=f"In {folder}", right=(1,))


def _show(artifacts: list[Artifact], verbose: bool) -> None:
    if verbose:
        _show_checks(artifacts)
    for _, own in itertools.groupby(artifacts, lambda artifact: artifact.path.parent):
        _show_folder_of(list(own))


def _show_folder_of(artifacts: list[Artifact]) -> None:
    rows = [[a.path.name, megabytes(a.path.stat().st_size), _verdict(a)] for a in artifacts]
    title = f"In {artifacts[0].path.parent}, each with its manifest beside it as .json"
    print_table(["file", "size", ""], rows, title=title, right=(1,))
    if old := _older(artifacts):
        console().print(f"Of an older export, and as they were: {', '.join(old)}. Export them again, or remove them.")
    onnx = [a for a in artifacts if a.path.suffix == ".onnx"]
    if onnx:
        name = shlex.quote(str(onnx[-1].path))
        out = console()
        out.print(f"Next: gantool bench {name}", soft_wrap=True)
        if onnx[-1].manifest.picture is not None:
            out.print(f"      gantool generate {name} --input PICTURE -o out.png", soft_wrap=True)
        elif onnx[-1].manifest.input("data") is None and onnx[-1].manifest.output.kind != "point":
            out.print(f"      gantool generate {name}", soft_wrap=True)


def _older(artifacts: list[Artifact]) -> list[str]:
    """Names of files beside them that are of another model, or have other values."""
    from gantool.artifact import onnxfile
    from gantool.run.exports import ONNX_FILES

    folder, found = artifacts[0].path.parent, []
    about = artifacts[0].manifest
    for name in sorted({*ONNX_FILES} - {a.path.name for a in artifacts}):
        with suppress(GantoolError):
            if (folder / name).is_file():
                other = onnxfile.read_manifest(folder / name)
                if (other.model, other.values) != (about.model, about.values):
                    found.append(name)
    return found


def _verdict(artifact: Artifact) -> str:
    failed = [f"{c.measure} {c.value:.3g}" for c in artifact.checks if not c.passed]
    if failed:
        return f"FORCED: {len(failed)} of {len(artifact.checks)} checks failed: {', '.join(failed)}"
    return f"verified by {len(artifact.checks)} checks"


def _show_checks(artifacts: list[Artifact]) -> None:
    # every artifact has the generator's own checks: show each once
    checks = list(dict.fromkeys(check for artifact in artifacts for check in artifact.checks))
    rows = [
        [
            c.artifact,
            c.measure,
            f"{c.value:.3g}",
            f"{'≥' if c.least else '≤'} {c.limit:g}{'' if c.passed else ' forced'}",
        ]
        for c in checks
    ]
    print_table(["what", "measure", "value", "limit"], rows, right=(2, 3))
    files = []
    for artifact in artifacts:
        about = artifact.manifest
        takes = ", ".join(
            f"{i.name} {i.dtype} {_shape(('n', *i.shape) if i.distribution != 'seed' else (1,))}" for i in about.inputs
        )
        gives = f"{about.output.name} {about.output.dtype} {_shape(('n', *about.output.shape))}"
        files.append([artifact.path.name, f"{takes} → {gives}"])
    print_table(["file", "inputs → output"], files)


def _shape(sides: tuple[object, ...]) -> str:
    return "(" + ", ".join(map(str, sides)) + ("," if len(sides) == 1 else "") + ")"


def _as_json(artifact: Artifact) -> dict[str, object]:
    return {
        "file": str(artifact.path),
        "kind": artifact.manifest.kind,
        "bytes": artifact.path.stat().st_size,
        "weights_sha256": artifact.manifest.weights_sha256,
        "checks": [
            {
                "artifact": c.artifact,
                "measure": c.measure,
                "value": c.value,
                "limit": c.limit,
                "passed": c.passed,
            }
            for c in artifact.checks
        ],
    }
