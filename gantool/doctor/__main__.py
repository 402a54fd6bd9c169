"""`python -m gantool.doctor`: the same as `gantool doctor`, without typer and rich."""

from __future__ import annotations

import argparse
import json
import sys

from gantool.doctor import report as text
from gantool.doctor.examination import PROVIDERS, examine
from gantool.errors import printable


def main(arguments: list[str] | None = None) -> int:
    """0 when all that is usable works, 1 when not."""
    parser = argparse.ArgumentParser(
        "python -m gantool.doctor", description="Run real operators on every provider, and print how to fix what fails."
    )
    parser.add_argument("--provider", choices=PROVIDERS, help="one that must work")
    parser.add_argument("--timeout", type=_seconds, default=120.0, help="seconds for each process (120)")
    parser.add_argument("--json", action="store_true", help="print JSON, for bug reports")
    options = parser.parse_args(arguments)
    report = examine(provider=options.provider, timeout=options.timeout)
    if options.json:
        print(json.dumps(report, indent=2, allow_nan=False))
    else:
        print(printable("\n".join(lines(report))))
    return 0 if report["ok"] else 1


def lines(report: dict[str, object]) -> list[str]:
    """The report as plain text."""
    out = [*text.heading(report), ""]
    tables = [
        (text.PROVIDER_COLUMNS, text.provider_rows(report)),
        (text.LIBRARY_COLUMNS, text.library_rows(report)),
    ]
    for columns, rows in tables:
        if rows:
            widths = [max(len(row[i]) for row in [columns, *rows]) for i in range(len(columns))]
            out += ["  ".join(map(str.ljust, row, widths)).rstrip() for row in [columns, *rows]] + [""]
    out += [*text.remarks(report), ""]
    for severity, what, remedy in text.faults(report):
        out += [f"{severity.capitalize()}: {what}", *(f"  {line}" for line in remedy), ""]
    return [*out, text.verdict(report)]


def _seconds(text: str) -> float:
    value = float(text)
    if not 1 <= value <= 86_400:
        raise argparse.ArgumentTypeError("give 1 to 86400 seconds")
    return value


if __name__ == "__main__":
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
    sys.exit(main())
