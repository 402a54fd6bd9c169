"""Which of the zoo's generators each exported format holds: small generators with the layers of public GAN code.

    python benchmarks/zoo.py --json benchmarks/results/zoo-cpu.json

Each of them (`tests/support/zoo/`) is trained for a step and exported to every file and precision. Each file is checked
by onnx.checker and compared with the trained generator in onnxruntime, onnx.reference and, where it is installed,
OpenVINO (torch files: in torch), on five latents. `right`: within a level of 0…255 (half 9, int8 64). `refused`: the
export says why. Nothing may be `wrong` or have `crashed`: then it exits 1. `--only NAME …` tries some of them.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from gantool.system import machine
from gantool.system.files import write_json

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))


def grouped(cells: dict[str, tuple[str, str]]) -> dict[str, dict[str, list[str]]]:
    """Outcome → why → files; of those that are right, the files alone."""
    found: dict[str, dict[str, list[str]]] = {}
    for file, (outcome, why) in sorted(cells.items()):
        found.setdefault(outcome, {}).setdefault("" if outcome == "right" else why, []).append(file)
    return found


def main() -> None:
    from support.zoo import MEMBERS
    from support.zoo.examine import ALL
    from support.zoo.keeper import Keeper

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", default=list(MEMBERS), choices=list(MEMBERS), metavar="NAME")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    generators: dict[str, Any] = {}
    outcomes: Counter[str] = Counter()
    with Keeper() as keeper:
        for name in arguments.only:
            cells = keeper.examine(name, ALL)
            outcomes.update(outcome for outcome, _ in cells.values())
            generators[name] = grouped(cells)
            print(
                name, {outcome: sum(map(len, whys.values())) for outcome, whys in generators[name].items()}, flush=True
            )
    print(dict(outcomes))
    if arguments.json:
        write_json(arguments.json, {"machine": machine.describe(), "outcomes": outcomes, "generators": generators})
    sys.exit(bool(outcomes["wrong"] + outcomes["crashed"]))


if __name__ == "__main__":
    main()
