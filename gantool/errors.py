"""The errors that users are meant to see, and text made safe to print."""

from __future__ import annotations

import functools
import unicodedata
from collections.abc import Callable
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")

# modules that come with an extra of the distribution, and its name
EXTRAS = {
    "onnxruntime": "cpu",
    **dict.fromkeys(("torch", "onnx", "onnxscript", "torchmetrics", "matplotlib", "safetensors"), "train"),
    **dict.fromkeys(("soundfile", "soxr"), "audio"),
    **dict.fromkeys(("starlette", "uvicorn"), "watch"),
    **dict.fromkeys(("trimesh", "skimage"), "volume"),
    "av": "film",
    "huggingface_hub": "hub",
}
MAX_MESSAGE = 4000  # characters: libraries put whole headers and lines of damaged files into theirs
MAX_CAUSE = 300  # characters of what a library says


class GantoolError(Exception):
    """What happened, with the value at fault, and what to type next.

    The command line prints both and exits 1. Anything else that escapes is a bug of ours and keeps its traceback.
    """

    def __init__(self, message: str, hint: str = "") -> None:
        if len(message) > MAX_MESSAGE:  # the reason is often at the end
            message = f"{message[: MAX_MESSAGE // 2 - 2]} … {message[1 - MAX_MESSAGE // 2 :]}"
        self.message = printable(message)  # a Python program prints it by itself
        self.hint = printable(hint)
        super().__init__(self.message)

    def __str__(self) -> str:
        return f"{self.message} {self.hint}".rstrip()


class ArgumentError(GantoolError, ValueError):
    """An argument or option has a value that it can't have: also a ValueError, as Python programs expect."""


def renamed(**meant: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """For a function whose arguments are often called otherwise: `renamed(start="first")` names the right one.

    A call with `start=` raises ArgumentError in place of TypeError.
    """

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        @functools.wraps(function)
        def checked(*args: P.args, **kwargs: P.kwargs) -> R:
            for name in meant.keys() & kwargs.keys() if kwargs else ():
                raise ArgumentError(
                    f"{function.__name__}() has no argument {name!r}.", f"It is called {meant[name]!r} here."
                )
            return function(*args, **kwargs)

        return checked

    return decorate


def not_installed(error: ModuleNotFoundError) -> GantoolError | None:
    """What to install, if the module that is missing comes with an extra; None for any other module."""
    extra = EXTRAS.get(error.name or "")
    if extra is None:
        return None
    gpu = "; with an NVIDIA GPU: pip install 'gantool[cuda]'" if extra == "cpu" else ""
    return GantoolError(
        f"This needs {error.name}, which is not installed.", f"Type: pip install 'gantool[{extra}]'{gpu}"
    )


def named(error: BaseException) -> str:
    """The type of an exception, and what it says where it says something: `ValueError: no such thing`."""
    return f"{type(error).__name__}: {error}".rstrip(": ")


def cause(error: BaseException, limit: int = MAX_CAUSE) -> str:
    """What an exception of a library says, for the end of a message: the first line, without its full stop.

    At most `limit` printable characters. Its type, too, where it says nothing (as MemoryError may) or a key only.
    """
    text = str(error).strip()
    if isinstance(error, KeyError) or not text:
        text = named(error)
    return excerpt(text.partition("\n")[0].rstrip(". "), limit)


def printable(text: str) -> str:
    """A text that may hold anybody's words, whole: what would steer a terminal is spelt out, but for ends of lines."""
    if text.isprintable():
        return text
    kept = (c.isprintable() or c == "\n" or unicodedata.category(c) == "Zs" for c in text)  # spaces of all widths, too
    return "".join(c if keep else ascii(c)[1:-1] for c, keep in zip(text, kept, strict=True))


def excerpt(text: str, limit: int = 80) -> str:
    """A text that may be anybody's, for a message: one line, printable characters, at most `limit` of them."""
    shown = text[: limit + 1]
    if not shown.isprintable():
        shown = ascii(shown)[1:-1]
    return shown if len(shown) <= limit else shown[: limit - 1] + "…"
