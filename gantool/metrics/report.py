"""An evaluation as JSON: the same call gives the same text, so numbers are cut to six digits and no time is told."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gantool import __version__
from gantool.data import Dataset
from gantool.metrics.evaluation import Evaluation
from gantool.metrics.extractors import Extractor
from gantool.metrics.memory import Space

SCHEMA = 1
HOW_TO_READ = (
    "Median distance of a fake to its nearest training sample, divided by that of a real to the nearest other one: "
    "about 1 is as it should be, well below 1 means copies."
)


def as_json(
    found: Evaluation, subject: dict[str, Any], data: Dataset, extractor: Extractor, notes: Sequence[str]
) -> dict[str, Any]:
    """Everything that decided the figures, and the figures. `subject`: what was judged (kind, path, step)."""
    memory = found.memorisation
    return {
        "schema_version": SCHEMA,
        "gantool": __version__,
        "subject": subject,
        "data": {
            "name": data.name,
            "source": data.source,
            "shape": list(data.spec.shape),
            "count": len(data),
            "fingerprint": data.fingerprint,
        },
        "extractor": {
            "name": extractor.name,
            "version": extractor.version,
            "sha256": extractor.sha256 or None,
            "features": extractor.dimension,
        },
        "seed": found.seed,
        "fakes": found.fakes,
        "reals": found.reals,
        "figures": {
            figure.key: {
                "name": figure.name,
                "value": _digits(figure.value),
                "deviation": _digits(figure.deviation),
                "better": figure.better,
            }
            for figure in found.figures
        },
        "classes": found.classes
        and {
            "names": list(found.classes.names),
            "fakes": [_digits(share) for share in found.classes.fakes],
            "reals": [_digits(share) for share in found.classes.reals],
            "max_deviation": _digits(found.classes.max_deviation),
            "missing": list(found.classes.missing),
        },
        "memorisation": {
            "how_to_read": HOW_TO_READ,
            "fakes": len(memory.fakes),
            "features": _space(memory.features),
            "pixels": _space(memory.pixels),
        },
        "notes": list(notes),
        "files": {},
    }


def _space(space: Space) -> dict[str, Any]:
    return {
        "ratio": _digits(space.ratio),
        "fake_median": _digits(space.fake_median),
        "real_median": _digits(space.real_median),
        "among": space.among,
    }


def _digits(value: float | None) -> float | None:
    """Six significant digits: what the order of a sum may change lies behind them."""
    return None if value is None else float(f"{value:.6g}")
