"""The steps of a network in C, and the place of each buffer in its workspace."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from gantool.exporting.c.loops import Formula, Value, function


@dataclass
class Step:
    """A call of the network, in which `@7@` is where buffer 7 begins.

    `loop`: the formula it computes, into the first of the values, from the others.
    """

    text: str
    loop: tuple[Formula, list[Value]] | None = None


def loops(steps: Sequence[Step], output: Value, count: int) -> tuple[list[str], list[int]]:
    """Write the calls of the loops; their functions in C, and for each of `count` buffers the one that it shares.

    A loop writes over a value that is read there for the last time.
    """
    texts = _texts(steps, output)
    last = {buffer: at for at, text in enumerate(texts) for buffer in _buffers(text)}
    same = list(range(count))
    functions: dict[str, str] = {}
    for at, step in enumerate(steps):
        if step.loop is None:
            continue
        formula, (made, *leaves) = step.loop
        over = None
        for leaf in leaves:
            found = re.fullmatch(r"m \+ (@\d+@)", leaf.pointer)
            alone = found and sum(found[1] in other.pointer for other in leaves) == 1
            if found and alone and leaf.shape == formula.shape and last[_buffers(found[1])[0]] == at:
                over, same[_buffers(made.pointer)[0]] = leaf, _buffers(found[1])[0]
                break
        text = function(formula, leaves, over)
        name = functions.setdefault(text, f"loop{len(functions)}")
        step.text = f"{name}({', '.join(v.pointer for v in (made, *leaves) if v is not over)}); /* {formula.op} */"
    for buffer, other in enumerate(same):  # of a chain of loops the first
        same[buffer] = same[other]
    return [text.replace("%NAME%", name) for text, name in functions.items()], same


def plan(steps: Sequence[Step], output: Value, sizes: Sequence[int], same: Sequence[int]) -> tuple[list[str], str, int]:
    """The steps' calls and the output's pointer with places in them, and how many floats the workspace has.

    Buffers that are not needed at the same time share a place: the largest are placed first, each as low as it can be.
    """
    texts = _texts(steps, output)
    spans: dict[int, tuple[int, int]] = {}
    for at, text in enumerate(texts):
        for buffer in (same[buffer] for buffer in _buffers(text)):
            spans[buffer] = (spans.get(buffer, (at, at))[0], at)
    places: dict[int, int] = {}
    for buffer in sorted(spans, key=lambda b: -sizes[b]):
        first, last = spans[buffer]
        others = [o for o in places if spans[o][0] <= last and first <= spans[o][1]]
        place = 0
        for other in sorted(others, key=lambda o: places[o]):
            if places[other] - place >= sizes[buffer]:
                break
            place = max(place, places[other] + sizes[other])
        places[buffer] = place
    calls = [re.sub(r"@(\d+)@", lambda found: str(places[same[int(found[1])]]), text) for text in texts]
    return calls[:-1], calls[-1], max((places[b] + sizes[b] for b in places), default=0)


def _texts(steps: Sequence[Step], output: Value) -> list[str]:
    return [s.text or " ".join(v.pointer for v in (s.loop or ((), []))[1]) for s in steps] + [output.pointer]


def _buffers(text: str) -> list[int]:
    return [int(found) for found in re.findall(r"@(\d+)@", text)]
