"""`gantool.card`: the model card of exported files."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from gantool.api import Named, name_of
from gantool.sharing import card as cards
from gantool.sharing.model import find


def card(
    source: Named | None = None,
    output: str | os.PathLike[str] | None = None,
    *,
    licence: str = "",
    datasets: Sequence[str] = (),
    runs: str | os.PathLike[str] = "runs",
) -> Path:
    """Write a model card, README.md with metadata for the Hugging Face hub, beside a picture of samples; its path.

    It has what manifests, run.json and evaluation.json say: data, architecture, recipe, figures, files with digests,
    inputs and outputs, golden samples. Where no evaluation was made, or a licence is not known, it says so. Parts
    between marks of `yours` are kept when a card is written again. Equal files give an equal card.

    `source`: an exported .onnx file, a folder of some, or a run; default: the newest export. `output`: a folder;
    default: `card/` in the run, or beside the file. `licence`: of the model, as the hub names it, such as `mit`.
    `datasets`: the hub's names of the data, such as `ylecun/mnist`. Both are kept, too. `runs`: where a run that is
    given by number or name lies.

    GantoolError when nothing is exported, a file has changed since, or another README.md is in the folder.
    """
    model = find(None if source is None else name_of(source), Path(runs))
    return cards.write(model, model.card if output is None else Path(output), licence, datasets)
