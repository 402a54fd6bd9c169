"""`gantool inspect`: the manifest of an exported file."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gantool.system.terminal import console, megabytes, print_json, print_table

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gantool.artifact.hosts import Problem
    from gantool.artifact.inspection import Inspection
    from gantool.artifact.manifest import InputInfo, Manifest


def command(
    given: Annotated[
        str | None,
        typer.Argument(
            metavar="[RUN|FILE]",
            help="An exported .onnx or .pt file, the .json beside one, or a run. Default: the newest export.",
        ),
    ] = None,
    runs: Annotated[Path, typer.Option(help="Folder of the runs.")] = Path("runs"),
    hosts: Annotated[
        bool, typer.Option("--hosts", help="Show which programs take the file, such as Unity, and why not.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the manifest as JSON.")] = False,
) -> None:
    """Show the manifest of an exported file. Exit code 1: weights or graph have changed since the export."""
    from gantool.artifact.hosts import of_file
    from gantool.artifact.inspection import inspect

    found = inspect(_file(given, runs))
    problems = of_file(found.path) if hosts else {}
    if as_json:
        checked: dict[str, object] = {"weights_match": found.weights_match, "graph_match": found.graph_match}
        if hosts:
            checked["hosts"] = {name: [asdict(each) for each in own] for name, own in problems.items()}
        print_json(asdict(found.manifest) | {"bytes": found.bytes} | checked)
    elif hosts:
        _show_hosts(found.path, problems)
        _show_changed(found)
    else:
        _show(found)
    if found.weights_match is False or found.graph_match is False:
        raise typer.Exit(1)


def _file(given: str | None, runs: Path) -> Path:
    """The file of that name, else the export of the run of that name."""
    from gantool.artifact.manifest import SUFFIXES
    from gantool.run.exports import find_artifact

    if given is not None and (Path(given).is_file() or Path(given).suffix in (*SUFFIXES, ".json")):
        return Path(given)
    return find_artifact(given, runs)


def _show(found: Inspection) -> None:
    m = found.manifest
    classes = m.classes
    architecture, training, data = m.architecture, m.training, m.data
    verdicts = {True: "match", False: "DO NOT MATCH the manifest", None: "not checked for this kind"}
    weights, graph = verdicts[found.weights_match], verdicts[found.graph_match]
    if found.weights_match is None and m.kind.startswith("onnx") and found.nodes:
        weights = "checked as a part of the graph only: onnx is not installed"
    golden = (
        f"{sum(g.count for g in m.golden)} of seeds {', '.join(str(g.seed) for g in m.golden)}" if m.golden else "none"
    )
    run = ", ".join(f"{key} {training[key]}" for key in ("run", "step", "seed", "ema_decay") if key in training)
    plugin = f"{architecture.get('plugin')} {architecture.get('plugin_version')}"
    options = architecture.get("config")
    pairs = options.items() if isinstance(options, dict) else ()
    config = ", ".join(f"{key} {_value(value)}" for key, value in pairs)
    rows = [
        ["file", f"{found.path} ({megabytes(found.bytes)})"],
        ["kind", m.kind + (f", opset {m.opset}" if m.opset else "")],
        ["architecture", f"{architecture.get('name')} ({plugin})"],
        ["config", config],
        *([["generator", m.which]] if m.which else []),
        ["trained", run],
        ["data", f"{data.get('name')}, {data.get('count')} samples, fingerprint {str(data.get('fingerprint'))[:12]}…"],
        ["licence of the data", m.licence or "not stated"],
        *([f"input {i.name}", f"{i.dtype} {_sides(i.shape)}, {i.distribution}{_bounds(i)}"] for i in m.inputs),
        [f"output {m.output.name}", f"{m.output.dtype} {_sides(m.output.shape)}, {m.output.layout}"],
        ["latents", _latents(m)],
        *([["classes", f"{classes}: {m.list_classes()}"]] if classes else []),
        ["weights", f"SHA-256 {m.weights_sha256[:16]}…: {weights}"],
        *([["graph", f"SHA-256 {m.graph_sha256[:16]}…: {graph}"]] if m.graph_sha256 else []),
        ["nodes", ", ".join(f"{count} {name}" for name, count in sorted(found.nodes.items())) or "–"],
        [f"golden {m.output.noun}s", golden],
        ["made by", f"gantool {m.gantool}, {m.exporter}, {m.created}"],
        ["versions", ", ".join(f"{name} {version}" for name, version in m.versions.items())],
    ]  # fmt: skip
    print_table(["", ""], rows)
    if m.parity:
        parity = [
            [measure, f"{_number(v, 'value'):.3g}", f"{_number(v, 'limit'):g}"] for measure, v in m.parity.items()
        ]
        print_table(["verified at export", "value", "limit"], parity, right=(1, 2))
    _show_changed(found)


def _show_changed(found: Inspection) -> None:
    changed = [name for name, same in (("weights", found.weights_match), ("graph", found.graph_match)) if same is False]
    if changed:
        console().print(f"Changed since the export: {' and '.join(changed)}. Do not trust this file.")


def _show_hosts(path: Path, problems: Mapping[str, Sequence[Problem]]) -> None:
    rows = []
    for name, own in problems.items():
        more = f"; {len(own) - 1} more" if len(own) > 1 else ""
        rows.append([name, "no" if own else "yes", f"{own[0].node} {own[0].reason}{more}" if own else ""])
    print_table(["host", "takes it", "why not"], rows, title=f"{path} by the rules of each host")
    console().print(
        "The rules have their sources in docs/hosts.md, and with --json.\nA file for a host: gantool export --for HOST"
    )


def _latents(m: Manifest) -> str:
    sizes = ", ".join(f"{i.name} {_sides(i.shape)}" for i in m.latents)
    return f"{sizes}, standard normal, from a seed by {m.rng}" if m.latents else "none"


def _bounds(item: InputInfo) -> str:
    if item.multiple:
        return f": a picture of any size, multiples of {item.multiple}"
    return f" from {item.low:g} to {item.high:g}, default {item.default:g}" if item.distribution == "value" else ""


def _sides(shape: tuple[int, ...]) -> str:
    return "×".join(map(str, shape)) or "scalar"


def _value(value: object) -> str:
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)


def _number(entry: object, key: str) -> float:
    value = entry.get(key) if isinstance(entry, dict) else None
    return float(value) if isinstance(value, int | float) else float("nan")
