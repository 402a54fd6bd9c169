from __future__ import annotations


def command() -> None:
    raise NotImplementedError
