"""`gantool.push` and `gantool.pull`: exported files on a Hugging Face hub."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from gantool.api import Named, name_of
from gantool.sharing import card as cards
from gantool.sharing import hub
from gantool.sharing.model import find
from gantool.system.terminal import bars


def push(
    repo: str,
    source: Named | None = None,
    *,
    private: bool = False,
    licence: str = "",
    datasets: Sequence[str] = (),
    message: str = "",
    runs: str | os.PathLike[str] = "runs",
) -> hub.Pushed:
    """Write the model card of exported files, and send both to a Hugging Face hub in one commit.

    Every exported file of the model goes with its manifest. Files of an older export that are at the hub, and not
    among them, are removed in the same commit. What you wrote in the card here is kept; what was written at the hub
    only is not.

    `repo`: OWNER/NAME, or NAME of your own; it is made where it does not exist, public unless `private`. `source`,
    `licence`, `datasets`, `runs`: see `gantool.card`. `message`: of the commit. The hub is huggingface.co, or what the
    variable HF_ENDPOINT names; the token is that of `hf auth login`, or HF_TOKEN.

    Gives the address of the commit, the names sent and the names removed. GantoolError as for `gantool.card`, and when
    the hub refuses or can't be reached.
    """
    model = find(None if source is None else name_of(source), Path(runs))
    path = cards.write(model, model.card, licence, datasets)
    return hub.push(model, repo, path.parent, private, message)


def pull(
    repo: str,
    output: str | os.PathLike[str] | None = None,
    *,
    revision: str | None = None,
    progress: bool = True,
) -> Path:
    """Fetch exported files, their manifests and their card from a Hugging Face hub; the folder.

    Only files with the names that `gantool export` and `gantool card` give are fetched. Sizes and digests are checked
    against the hub's, weights and graph of .onnx files against their manifests. Nothing in them is run: TorchScript and
    .pt2 files are code, which you run when you open them.

    `repo`: OWNER/NAME. `output`: a new or empty folder; default: NAME. `revision`: a commit, a branch or a tag.
    GantoolError when a check fails, the folder has something in it, the hub refuses or can't be reached; then there is
    no folder.
    """
    folder = Path(repo.rsplit("/", 1)[-1]) if output is None else Path(output)
    with bars(progress) as bar:
        hub.pull(repo, folder, revision, bar)
    return folder
