"""`python -m gantool.doctor`: the same as `gantool doctor`, without typer and rich."""

from __future__ import annotations

import argparse
import json
import sys

from gantool.doctor.examination import PROVIDERS, examine
from gantool.doctor.report import lines
from gantool.errors import printable


def main(arguments: list[str] | None = None) -> int:
    """0 when all that is usable works, 1 when not."""
    parser = argparse.ArgumentParser(
        "python -m gantool.doctor", description="Run real operators on every provider, and print how to fix what fails."
    )
    parser.add_argument("--provider", choices=PROVIDERS, help="one that must work")
    parser.add_argument("--timeout", type=float, default=120.0, help="seconds for each process (120)")
    parser.add_argument("--json", action="store_true", help="print JSON, for bug reports")
    options = parser.parse_args(arguments)
    report = examine(provider=options.provider, timeout=options.timeout)
    if options.json:
        print(json.dumps(report, indent=2, allow_nan=False))
    else:
        print(printable("\n".join(lines(report))))
    return 0 if report["ok"] else 1


if __name__ == "__main__":
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
    sys.exit(main())
