"""docs/architecture.md and CONTRIBUTING.md speak of the house as it is."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from test_imports import FLOOR_OF

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "architecture.md").read_text()
PATH = re.compile(r"`((?:[\w.]+/)+(?:[\w]+\.\w+)?)`")


@pytest.mark.parametrize("name", ["docs/architecture.md", "CONTRIBUTING.md"])
def test_every_path_that_is_named_exists(name: str) -> None:
    named = {path for path in PATH.findall((ROOT / name).read_text()) if "NAME" not in path}
    assert len(named) > 5
    assert not {path for path in named if not ((ROOT / path).exists() or (ROOT / "gantool" / path).exists())}


def test_the_picture_shows_the_floors() -> None:
    (picture,) = re.findall(r"```text\n(.*?)```", PAGE, re.DOTALL)
    rooms = [name for line in picture.splitlines() for name in re.findall(r"(?:^ {4}| {3,})([a-z]+) {2,}", line)]
    assert set(rooms) == set(FLOOR_OF) - {"__main__"}
    heights = [FLOOR_OF[room] for room in rooms]
    assert heights == sorted(heights, reverse=True)
