"""A report as lines of plain text and rows of tables."""

from __future__ import annotations

from typing import Any

PROVIDER_COLUMNS = ["provider", "state", "found"]
LIBRARY_COLUMNS = ["library", "version", "from"]


def heading(report: dict[str, Any]) -> list[str]:
    """What was examined: versions, then GPUs."""
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


def provider_rows(report: dict[str, Any]) -> list[list[str]]:
    """Rows under PROVIDER_COLUMNS."""
    return [
        [row["name"], row["state"], "; ".join(part for part in (row["why"], _probes(row["probes"])) if part)]
        for row in report["providers"]
    ]


def _probes(probes: list[dict[str, Any]]) -> str:
    right = [p for p in probes if p["status"] == "right"]
    if not right:
        return ""
    exact = [p["name"] for p in right if p["difference"] == 0]
    near = [p for p in right if p["difference"]]
    parts = []
    if near:
        worst = max(p["difference"] for p in near)
        parts.append(f"{', '.join(p['name'] for p in near)} right to {worst:.0e}")
    if exact:
        parts.append(f"{', '.join(exact)} exact")
    return ", ".join(parts)


def library_rows(report: dict[str, Any]) -> list[list[str]]:
    """Rows under LIBRARY_COLUMNS: every library that a provider loaded, with its wheel or path."""
    rows = {
        library["path"]: [library["name"], library["version"] or "?", library["wheel"] or library["path"]]
        for row in report["providers"]
        for library in row["libraries"] or []
        if not library["name"].startswith("libonnxruntime")
    }
    return [rows[path] for path in sorted(rows, key=lambda path: rows[path])]


def remarks(report: dict[str, Any]) -> list[str]:
    """Lines below the tables: unknown libraries, other providers, torch."""
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


def faults(report: dict[str, Any]) -> list[tuple[str, str, list[str]]]:
    """(severity, what is wrong, the lines that fix it) of each fault."""
    return [
        (
            fault["severity"],
            fault["what"],
            [
                *([f"pip: {fault['pip']}", f"uv:  {fault['uv']}"] if fault["pip"] else []),
                *([f"{'and:' if fault['pip'] else 'do: '} {fault['then']}"] if fault["then"] else []),
            ],
        )
        for fault in report["faults"]
    ]


def verdict(report: dict[str, Any]) -> str:
    """The last line."""
    working = [row["name"] for row in report["providers"] if row["state"] == "works"]
    if report["ok"]:
        return f"All that is usable here works: {', '.join(working)}."
    required = report["required"]
    if required is not None and required not in working:
        return f"{required} does not work here" + (f"; {', '.join(working)} does." if working else ".")
    return f"Not all works. What does: {', '.join(working) or 'nothing'}."
