"""The sentence that an evaluation ends with: the first rule that holds."""

from __future__ import annotations

from typing import Any

import pytest

from gantool.metrics.evaluation import Classes
from gantool.metrics.verdict import verdict

GOOD = {"precision": 0.78, "recall": 0.76, "coverage": 0.95, "diversity": 1.0}
FLOOR = {"precision": 0.8, "recall": 0.8, "coverage": 0.95}
DIGITS = tuple("0123456789")


def classes(missing: int) -> Classes:
    fakes = (*(0.0,) * missing, *(1 / (10 - missing),) * (10 - missing))
    return Classes(DIGITS, fakes, (0.1,) * 10)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, "As good as a second half of the data would be in precision, recall and coverage."),
        (
            {"precision": 0.6},
            "As good as a second half of the data would be in recall and coverage, "
            "worse in precision (0.60 against 0.80).",
        ),
        (
            {"precision": 0.73, "recall": 0.1, "coverage": 0.6},
            "As good as a second half of the data would be in precision, worse in coverage (0.60 against 0.95), "
            "much worse in recall (0.10 against 0.80).",
        ),
        (
            {"precision": 0.5, "recall": 0.2, "coverage": 0.2},
            "Worse than a second half of the data would be in precision (0.50 against 0.80), "
            "much worse in recall (0.20 against 0.80) and coverage (0.20 against 0.95).",
        ),
        ({"samples": 199}, "Too few samples for a verdict: 199, and it takes 200 of each."),
        ({"diversity": None}, "All samples of the data are alike: there is nothing to compare with."),
        ({"missing": 8}, "8 of 10 classes are missing: the generator has collapsed."),
        ({"missing": 1}, "1 of 10 classes is missing: 0."),
        ({"missing": 2}, "2 of 10 classes are missing: 0, 1."),
        ({"precision": 0.09, "coverage": 0.0}, "The samples are nothing like the data."),
        ({"diversity": 0.29}, "The samples differ by 29% of what the data do: the generator has collapsed."),
        (
            {"copies": (1.0, 0.29)},
            "The samples are copies of training samples, or nearly so: look at the neighbours.",
        ),
        (
            {"coverage": 0.19, "recall": 0.9},
            "The samples are near 19% of the data only: the generator makes few kinds of them.",
        ),
        ({"copies": (0.31, 0.31)}, "As good as a second half of the data would be in precision, recall and coverage."),
        ({"copies": (None, 0.9)}, "As good as a second half of the data would be in precision, recall and coverage."),
    ],
)
def test_rules(given: dict[str, Any], said: str) -> None:
    figures = GOOD | {key: value for key, value in given.items() if key in GOOD}
    found = verdict(
        given.get("samples", 200), figures, FLOOR, classes(given.get("missing", 0)), given.get("copies", (1.0, 0.9))
    )
    assert found == said
