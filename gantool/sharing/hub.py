"""Exported files and their card on a Hugging Face hub: `gantool push` and `gantool pull`.

The library `huggingface_hub` (extra `hub`) talks to the hub: it knows tokens, proxies, `HF_ENDPOINT`, and uploads of
large files. What is here decides what is sent, and checks what comes: only files that `gantool export` and `gantool
card` write are fetched, by their names, and nothing in them is run.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from gantool import __version__
from gantool.artifact.inspection import inspect
from gantool.artifact.manifest import beside
from gantool.errors import GantoolError, cause, excerpt
from gantool.run.exports import ONNX_FILES, TORCH_FILES
from gantool.sharing.model import PICTURE, README, Model
from gantool.system.files import replacing_folder, sha256_of

if TYPE_CHECKING:
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError
    from huggingface_hub.hf_api import RepoSibling


FILES = (*ONNX_FILES, *TORCH_FILES)
MANIFESTS = tuple(beside(Path(name)).name for name in FILES)

Show = Callable[[str, int], Callable[[int], None]]  # (what, of how many) → told of those done
MAX_BYTES = 8 * 2**30  # of one file from a hub
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,95}")
MAX_TEXT_BYTES = 64 * 2**20  # of a README, a picture or a manifest


@dataclass(frozen=True)
class Pushed:
    """What `push` has done: the address of the commit, the names of files sent, and of old ones removed there."""

    url: str
    sent: tuple[str, ...]
    removed: tuple[str, ...]


def push(model: Model, repo: str, card: Path, private: bool = False, message: str = "") -> Pushed:
    """Send the files of `model`, their manifests, and the card in the folder `card` to `repo`, in one commit.

    `repo`: OWNER/NAME or NAME; it is made where it does not exist, `private` or not. Files of an older export that are
    not sent again are removed in the same commit. GantoolError: the hub refuses, or can't be reached.
    """
    _check_name(repo, 1)
    api, send = _api(), _operations(model, card)
    with _hub_errors(repo):
        from huggingface_hub import CommitOperationAdd, CommitOperationDelete

        name = api.create_repo(repo, private=private, exist_ok=True).repo_id
        there = set(api.list_repo_files(name))
        removed = tuple(sorted(there & {*FILES, *MANIFESTS, PICTURE} - send.keys()))
        done = api.create_commit(
            name,
            [
                *(CommitOperationAdd(path_in_repo=key, path_or_fileobj=path) for key, path in send.items()),
                *(CommitOperationDelete(path_in_repo=key) for key in removed),
            ],
            commit_message=message or f"gantool push: {model.about.architecture.get('name')}",
        )
    return Pushed(str(done.commit_url), tuple(send), removed)


def _operations(model: Model, card: Path) -> dict[str, Path]:
    """Name at the hub → file here."""
    send = {README: card / README}
    if (card / PICTURE).is_file():
        send[PICTURE] = card / PICTURE
    for file in model.files:
        send[file.path.name] = file.path
        manifest = beside(file.path)
        if manifest.is_file():
            send[manifest.name] = manifest
    return send


def pull(repo: str, folder: Path, revision: str | None = None, show: Show | None = None) -> tuple[Path, ...]:
    """Fetch the exported files of `repo`, their manifests and their card to `folder`, all of them or none.

    Each has the size and the digest that the hub names (SHA-256, or that of git), each .onnx file the weights and the
    graph that its manifest names, all the same model, and each manifest beside a file is the one inside it. Nothing is
    run. `revision`: a commit, branch or tag. GantoolError: one of these is not so, the hub refuses or can't be reached,
    or `folder` has something in it.
    """
    _check_name(repo, 2)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise GantoolError(f"{folder} is there already.", "Name another folder (-o DIR), or remove this one.")
    api = _api()
    with _hub_errors(repo):
        found = api.model_info(repo, revision=revision or None, files_metadata=True)
    known = {each.rfilename: each for each in found.siblings or () if _wanted(each.rfilename)}
    if not any(name in known for name in FILES):
        raise GantoolError(
            f"{repo} has no file of `gantool export`.", f"Files that it may have: {', '.join(FILES[:4])} …"
        )
    for name, each in known.items():
        most = MAX_BYTES if name in FILES else MAX_TEXT_BYTES
        if each.size is None or each.size > most:
            raise GantoolError(f"{name} of {repo} is larger than {most // 2**20} MB, or has no size: not fetched.")
    done = show(repo, len(known)) if show else None
    with replacing_folder(folder) as new:
        for name, each in known.items():
            with _hub_errors(repo):
                path = Path(api.hf_hub_download(repo, name, revision=found.sha, local_dir=new / ".aside"))
            _check_bytes(path, each, repo)
            path.rename(new / name)
            if done:
                done(1)
        shutil.rmtree(new / ".aside")
        _check_model(new, repo)
    return tuple(folder / name for name in known)


def _check_name(repo: str, least: int) -> None:
    """`least`: of its parts; of one, the owner is who is logged in."""
    parts = repo.split("/")
    if not least <= len(parts) <= 2 or not all(map(_NAME.fullmatch, parts)):
        raise GantoolError(f"{excerpt(repo)!r} is no name of a model on a hub.", "Such names are OWNER/NAME.")


def _wanted(name: str) -> bool:
    return name in (*FILES, *MANIFESTS, README, PICTURE)


def _check_bytes(path: Path, said: RepoSibling, repo: str) -> None:
    if said.lfs is not None:
        right = sha256_of(path) == said.lfs.sha256
    else:
        data = path.read_bytes()
        right = hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest() == said.blob_id
    if path.stat().st_size != said.size or not right:
        raise GantoolError(f"{path.name} of {repo} did not arrive as the hub describes it.", "Try again.")


def _check_model(folder: Path, repo: str) -> None:
    models = set()
    for name in FILES:
        if not (folder / name).is_file():
            continue
        inside = inspect(folder / name)
        if inside.weights_match is False or inside.graph_match is False:
            raise GantoolError(f"{name} of {repo} has changed since its export.", "Do not use it; tell its author.")
        other = beside(folder / name)
        if other.is_file() and inspect(other).manifest != inside.manifest:
            raise GantoolError(f"{other.name} of {repo} is not what {name} says of itself.", "Tell its author.")
        models.add(inside.manifest.model)
    if len(models) > 1:
        raise GantoolError(f"{repo} has files of several models.", "Tell its author: gantool push sends one.")


def _api() -> HfApi:
    from huggingface_hub import HfApi
    from huggingface_hub.utils.tqdm import disable_progress_bars

    disable_progress_bars()
    return HfApi(endpoint=os.environ.get("HF_ENDPOINT"), library_name="gantool", library_version=__version__)


@contextmanager
def _hub_errors(repo: str) -> Iterator[None]:
    """A context in which errors of the hub and the network become GantoolErrors."""
    import httpx2
    from huggingface_hub import errors

    log_in = "Log in (hf auth login), or set HF_TOKEN to a token that may do this."
    try:
        yield
    except errors.HFValidationError as error:
        raise GantoolError(f"{repo} is no name of a model on a hub.", "Such names are OWNER/NAME.") from error
    except errors.GatedRepoError as error:
        raise GantoolError(f"{repo} asks you to accept its terms first.", f"On its page. {log_in}") from error
    except errors.RevisionNotFoundError as error:
        raise GantoolError(f"{repo} has no such revision.", "--revision takes a commit, a branch or a tag.") from error
    except errors.RepositoryNotFoundError as error:
        raise GantoolError(f"There is no model {repo}, or you may not see it.", log_in) from error
    except errors.HfHubHTTPError as error:
        if error.response.status_code in (401, 403):
            raise GantoolError(f"The hub refuses this for {repo}: {_said(error)}.", log_in) from error
        raise GantoolError(f"The hub can't do this for {repo}: {_said(error)}.", "Try again later.") from error
    except errors.LocalTokenNotFoundError as error:
        raise GantoolError("You are not logged in to a hub.", log_in) from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        if "README.md" in str(error):
            raise GantoolError(
                f"The hub refuses the card: {excerpt(cause(error), 300)}", "Mend your parts of it."
            ) from error
        raise GantoolError(
            f"This does not answer as a hub does: {excerpt(cause(error))}.", "HF_ENDPOINT names the hub; is it right?"
        ) from error
    except (httpx2.HTTPError, errors.OfflineModeIsEnabled, OSError) as error:
        raise GantoolError(
            f"The hub can't be reached: {excerpt(cause(error))}.", "Is the network there? HF_ENDPOINT names the hub."
        ) from error


def _said(error: HfHubHTTPError) -> str:
    return excerpt((error.server_message or f"status {error.response.status_code}").rstrip("."))
