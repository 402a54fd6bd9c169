"""A report as plain text."""

from __future__ import annotations

from typing import Any

from gantool.system.tables import fit


def lines(report: dict[str, Any], width: int | None = None) -> list[str]:
    """What was examined, the tables of providers and libraries, the faults with their remedies, and the verdict.

    `width`: of the tables, in characters; None: unlimited."""
    out = [*_heading(report), ""]
    tables = [
        (["provider", "state", "found"], _provider_rows(report)),
        (["library", "version", "from"], _library_rows(report)),
    ]
    for columns, rows in tables:
        for part in fit(columns, rows, width) if rows else ():
            out += [*part, ""]
    out += [*_remarks(report), ""]
    for fault in report["faults"]:
        out.append(f"{fault['severity'].capitalize()}: {fault['what']}")
        if fault["pip"]:
            out += [f"  pip: {fault['pip']}", f"  uv:  {fault['uv']}"]
        if fault["then"]:
            out.append(f"  {'and:' if fault['pip'] else 'do: '} {fault['then']}")
        out.append("")
    return [*out, _verdict(report)]


def _heading(report: dict[str, Any]) -> list[str]:
    runtime, python, system = report["onnxruntime"], report["python"], report["platform"]
    lines = [f"gantool {report['gantool']}, Python {python['version']}, {system['system']} {system['machine']}"]
    if runtime:
        built = f", built for CUDA {runtime['cuda']}" if runtime["cuda"] else ""
        package = runtime["package"] or "onnxruntime"
        lines.append(f"{package} {runtime['version']}{built}; numpy {runtime['numpy']}")
    return [*lines, *_gpus(report["gpus"])]


def _gpus(gpus: dict[str, Any]) -> list[str]:
    lines = []
    if gpus["driver"]:
        lines.append(f"NVIDIA driver {gpus['driver']}, for CUDA up to {gpus['cuda'] or '?'}")
    for device in gpus["devices"]:
        memory = f"{device['memory_mb'] / 1000:.0f} GB"
        lines.append(f"GPU: {device['name']}, {memory}, compute capability {device['capability']}")
    if gpus["why"]:
        lines.append(f"GPU: none usable; {gpus['why']}")
    return lines


def _provider_rows(report: dict[str, Any]) -> list[list[str]]:
    return [
        [row["name"], row["state"], "; ".join(filter(None, (row["why"], _probes(row["probes"]))))]
        for row in report["providers"]
    ]


def _probes(probes: list[dict[str, Any]]) -> str:
    right = [p for p in probes if p["status"] == "right"]
    exact = [p["name"] for p in right if p["difference"] == 0]
    near = [p for p in right if p["difference"]]
    parts = []
    if near:
        worst = max(p["difference"] for p in near)
        parts.append(f"{', '.join(p['name'] for p in near)} right to {worst:.0e}")
    if exact:
        parts.append(f"{', '.join(exact)} exact")
    return ", ".join(parts)


def _library_rows(report: dict[str, Any]) -> list[list[str]]:
    """Every library that a provider loaded, with its wheel or path."""
    rows = {
        library["path"]: [library["name"], library["version"] or "?", library["wheel"] or library["path"]]
        for row in report["providers"]
        for library in row["libraries"] or []
        if not library["name"].startswith("libonnxruntime")
    }
    return [rows[path] for path in sorted(rows, key=lambda path: rows[path])]


def _remarks(report: dict[str, Any]) -> list[str]:
    lines = []
    if any(row["libraries"] is None and row["state"] != "not usable here" for row in report["providers"]):
        lines.append("Libraries loaded: unknown (this system does not list them, or the process crashed).")
    if report["unused"]:
        lines.append(f"Not used by gantool: {', '.join(report['unused'])}")
    lines.append(f"torch: {_torch(report['torch'])}")
    return lines


def _torch(torch: dict[str, Any] | None) -> str:
    if torch is None:
        return "not installed (only training and export need it)"
    if torch.get("why"):
        return f"{torch['version']}, can't be imported: {torch['why']}"
    if torch["available"]:
        return f"{torch['version']}, CUDA {torch['cuda']}, {torch['devices']} GPU"
    return f"{torch['version']}, no CUDA" + (f" (built for {torch['cuda']})" if torch["cuda"] else "")


def _verdict(report: dict[str, Any]) -> str:
    working = [row["name"] for row in report["providers"] if row["state"] == "works"]
    if report["ok"]:
        return f"All that is usable here works: {', '.join(working)}."
    required = report["required"]
    if required is not None and required not in working:
        return f"{required} does not work here" + (f"; {', '.join(working)} does." if working else ".")
    return f"Not all works. What does: {', '.join(working) or 'nothing'}."
