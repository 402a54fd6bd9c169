"""`gantool evaluate`: reproducible metrics of a generator."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from gantool.cli.directions import STEP, WHICH
from gantool.cli.threads import THREADS
from gantool.system.terminal import console, print_json, print_table

MAX_SEED = 2**63 - 1


def command(
    subject: Annotated[
        str | None,
        typer.Argument(metavar="[RUN|FILE]", help="A run, or an exported .onnx. Default: the newest run."),
    ] = None,
    step: STEP = None,
    which: WHICH = "",
    data: Annotated[
        str | None, typer.Option(help="What to compare with. Default: what it was trained on.", show_default=False)
    ] = None,
    target: Annotated[
        str, typer.Option(help="The second set of pictures, as of `gantool train`. Default: the one it was trained on.")
    ] = "",
    pairs: Annotated[
        str, typer.Option(metavar="RULE", help="How pairs are made, as of `gantool train`. Default: as it was trained.")
    ] = "",
    size: Annotated[int | None, typer.Option(min=4, help="Crop and resize the data to this side.")] = None,
    extractor: Annotated[
        str | None,
        typer.Option(
            help="digits, efficientnet-lite0 (for colour pictures), inception, log-mel (for sounds), pixels, or a "
            "TorchScript file. Such a file runs code when it is opened: use only your own. Default: digits for the "
            "built-in digits, log-mel for sounds, else pixels.",
            show_default=False,
        ),
    ] = None,
    inception_weights: Annotated[
        Path | None, typer.Option(help="torch-fidelity's Inception weights. Default: in the cache of torch.hub.")
    ] = None,
    samples: Annotated[
        int | None,
        typer.Option(
            "-n", "--samples", min=1, help="Fakes, and at most as many reals. Default: as the data, up to 10,000."
        ),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, max=MAX_SEED, help="Seed of the fakes and of the choice of reals.")] = 0,
    batch: Annotated[int, typer.Option(min=1, help="Samples in a batch.")] = 256,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N; exported files run on the CPU.")] = "auto",
    threads: THREADS = None,
    floor: Annotated[
        bool,
        typer.Option("--floor", help="Compare one half of the data (the newest run's) with the other: the best."),
    ] = False,
    ceiling: Annotated[bool, typer.Option("--ceiling", help="Compare uniform noise with the data: the worst.")] = False,
    output: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--output",
            help="Folder for evaluation.json and neighbours.png, or a .png. Default: evaluation/ in the run, "
            "NAME.evaluation/ beside a file, none for --floor and --ceiling.",
        ),
    ] = None,
    runs: Annotated[Path, typer.Option(help="Folder of the runs.")] = Path("runs"),
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Measure a generator: distances to the data, precision and recall, diversity, classes, memorisation."""
    from gantool.api.evaluate import evaluate

    made = evaluate(
        subject,
        step=step,
        which=which,
        data=data,
        target=target,
        pairs=pairs,
        size=size,
        extractor=extractor,
        inception_weights=inception_weights,
        samples=samples,
        seed=seed,
        batch=batch,
        device=device,
        threads=threads,
        floor=floor,
        ceiling=ceiling,
        output=output,
        runs=runs,
    )
    if as_json:
        print_json(made)
    else:
        _show(made)


def _show(made: dict[str, Any]) -> None:
    """The report as tables."""
    out = console()
    rows = [[f["name"], _value(f["value"], f["deviation"]), f["better"]] for f in made["figures"].values()]
    for name in ("features", "pixels"):
        ratio = made["memorisation"][name]["ratio"]
        rows.append([f"nearest real, by {name}", "–" if ratio is None else f"{ratio:.3f}", "near 1 (less: copies)"])
    print_table(["figure", "value", "better"], rows, title=_title(made["subject"]), right=(1,))
    if classes := made["classes"]:
        shares = zip(classes["names"], classes["fakes"], classes["reals"], strict=True)
        table = [[name, f"{fake:.1%}", f"{real:.1%}"] for name, fake, real in shares]
        print_table(["class", "fakes", "reals"], table, right=(1, 2))
        missing = ", ".join(classes["missing"]) or "none"
        out.print(f"largest deviation {100 * classes['max_deviation']:.1f} points; missing classes: {missing}")
    if sources := made["sources"]:
        near = f"{sources['difference']:.3g} levels from the targets, PSNR {sources['psnr']:.3g} dB"
        out.print(f"the sources themselves: {near}")
    data, extractor = made["data"], made["extractor"]
    digest = f", SHA-256 {extractor['sha256'][:12]}…" if extractor["sha256"] else ""
    out.print(
        f"{made['fakes']:,} fakes and {made['reals']:,} of {data['count']:,} reals, seed {made['seed']}\n"
        f"data {data['name']}, fingerprint {data['fingerprint'][:12]}…\n"
        f"extractor {extractor['name']}, version {extractor['version']}{digest}, {extractor['features']} features"
    )
    for path in made["files"].values():
        out.print(f"→ {path}", soft_wrap=True)
    if made["files"]:
        out.print("a row there: a fake, the 4 nearest reals by features, the 4 by pixels")
    out.print(f"\n{made['verdict']}", style="bold")


def _title(judged: dict[str, Any]) -> str:
    if judged["kind"] == "run":
        return f"{judged['path']}, step {judged['step']:,}"
    return judged["path"] or {"floor": "one half of the data against the other"}.get(judged["kind"], "uniform noise")


def _value(value: float | None, deviation: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:.4g}" if deviation is None else f"{value:.4g} ± {deviation:.2g}"
