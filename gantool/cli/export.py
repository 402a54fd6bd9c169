"""`gantool export`: a run's generator as verified files."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gantool.cli.show import console, megabytes, print_json, print_table

if TYPE_CHECKING:
    from gantool.export import Artifact


def command(
    run: Annotated[str | None, typer.Argument(help="A run: path, folder name or number. Default: the newest.")] = None,
    onnx: Annotated[bool, typer.Option("--onnx", help="Write generator.onnx: z → image, float32.")] = False,
    seeded: Annotated[
        bool, typer.Option("--seeded", help="Write generator.seeded.onnx: seed, index → image, uint8.")
    ] = False,
    torchscript: Annotated[
        bool, typer.Option("--torchscript", help="Write generator.torchscript.pt for LibTorch.")
    ] = False,
    output: Annotated[Path | None, typer.Option("-o", "--output", help="Folder. Default: the run's export/.")] = None,
    step: Annotated[
        str | None, typer.Option(metavar="N|best", help="A checkpoint: of step N, or the best by --keep-best.")
    ] = None,
    runs: Annotated[Path, typer.Option(help="Folder of the runs.")] = Path("runs"),
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Export a run's generator, verified. Without --onnx, --seeded or --torchscript: all three."""
    from gantool import rundir
    from gantool.export import export_run

    chosen = rundir.find(runs, run) if run else rundir.newest(runs)
    flags = {"onnx": onnx, "onnx-seeded": seeded, "torchscript": torchscript}
    kinds = [kind for kind, wanted in flags.items() if wanted]
    progress = console(stderr=True)
    progress.print(f"exporting {chosen.path} and verifying what comes out …")
    artifacts = export_run(chosen, kinds or None, output, lambda note: progress.print(f"note: {note}"), step)
    if as_json:
        print_json([_as_json(artifact) for artifact in artifacts])
        return
    _show(artifacts)


def _show(artifacts: list[Artifact]) -> None:
    # the generator's own checks stand in every artifact: show each row once
    checks = list(dict.fromkeys(check for artifact in artifacts for check in artifact.checks))
    rows = [
        [
            c.artifact,
            c.measure,
            f"{c.value:.3g}",
            f"{'≥' if c.least else '≤'} {c.limit:g}",
            "ok" if c.passed else "FAILED",
        ]
        for c in checks
    ]
    print_table(["what", "measure", "value", "limit", ""], rows, right=(2, 3), wrap=(1,))
    files = []
    for artifact in artifacts:
        described = artifact.manifest
        takes = ", ".join(
            f"{i.name} {i.dtype} {_shape(('n', *i.shape) if i.distribution != 'seed' else (1,))}"
            for i in described.inputs
        )
        gives = f"{described.output.name} {described.output.dtype} {_shape(('n', *described.output.shape))}"
        files.append([artifact.path.name, megabytes(artifact.path.stat().st_size), f"{takes} → {gives}"])
    title = f"In {artifacts[0].path.parent}, each with its manifest beside it as .json"
    print_table(["file", "size", "inputs → output"], files, title=title, right=(1,))
    onnx = [a.path for a in artifacts if a.path.suffix == ".onnx"]
    if onnx:
        name = shlex.quote(str(onnx[-1]))
        console().print(f"Next: gantool generate {name}\n      gantool bench {name}")


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
