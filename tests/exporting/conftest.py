"""A browser, and the pages of app kits in it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from support import hosts
from support.pages import Open, opening


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with hosts.browser() as opened:
        yield opened


@pytest.fixture
def opened(browser: Any) -> Iterator[Open]:
    with opening(browser) as open_page:
        yield open_page
