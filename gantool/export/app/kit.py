"""The folder of an app kit: made aside, then put in place whole or not at all."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Sequence
from dataclasses import asdict
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import TYPE_CHECKING

from gantool import manifest
from gantool.errors import GantoolError
from gantool.export.app import assets, readme
from gantool.files import MAX_JSON_BYTES, read_bounded, replacing_folder, write_json
from gantool.manifest import FILES, Manifest
from gantool.provenance import xmp
from gantool.rundir import RunDir, label

if TYPE_CHECKING:
    from gantool.export.source import Artifact

MODEL, TORCHSCRIPT = FILES["onnx-seeded"], FILES["torchscript-seeded"]
MANIFEST, README, PLAYGROUND = "manifest.json", "README.md", "playground.html"
# what using a kit leaves in it: no reason to keep an old one
BY_PRODUCTS = {"node_modules", "package-lock.json", "__pycache__", ".venv", "build", "grid.png", "samples.png"}
_TEMPLATES = files("gantool.export.app") / "templates"


def require_images(described: Manifest) -> None:
    """GantoolError unless a kit can be made of such a generator: images of 1 or 3 channels, from seeds and a label.

    `described`: of the seeded file, or of any other of the same generator.
    """
    taken = [i.name for i in described.inputs if i.distribution == "data"]
    if taken:
        raise GantoolError(
            f"An app kit makes images from seeds; this generator takes {', '.join(taken)}.",
            "Export it with --onnx or --torchscript, and give it its inputs: gantool.runtime.Generator(…).run(inputs).",
        )
    if described.output.layout not in ("HWC", "CHW"):
        raise GantoolError(
            f"An app kit shows images; this generator makes samples of shape {described.output.shape}.",
            "Export it with --seeded, and call gantool.runtime.Generator(…).sample(n, seed).",
        )
    channels = described.output.shape[-1 if described.output.layout == "HWC" else 0]
    if channels not in (1, 3):
        raise GantoolError(
            f"An app kit shows images of 1 or 3 channels; this generator's have {channels}.",
            "Export it with --seeded, and call gantool.runtime.Generator(…).sample(n, seed).",
        )
    labels = [i.name for i in described.inputs if i.distribution == "label"]
    if len(labels) > 1:
        raise GantoolError(f"An app kit asks for one label; this generator takes {', '.join(labels)}.")
    if described.batch is not None:
        raise GantoolError(
            f"An app kit makes any number of images; this file takes {described.batch} at a time.",
            "Export the kit without a fixed batch.",
        )


def write_app(
    seeded: Artifact,
    torchscript: Artifact | None,
    run: RunDir | None,
    folder: Path,
    *,
    playground: bool = True,
    provenance: bool = True,
) -> list[Path]:
    """Make the app kit `folder` of a seeded ONNX file and, for C++, its TorchScript twin; return its files.

    `run`: where the playground finds how the training went. `provenance`: whether pictures that the kit's programs
    write say that a trained model made them. A kit that is there is replaced, once the new one is whole;
    GantoolError, and nothing changed, where `folder` holds anything else or the file is not fit for a kit.
    """
    if seeded.manifest.kind != "onnx-seeded":
        raise GantoolError(f"{seeded.path} is of kind {seeded.manifest.kind}; an app kit needs the seeded ONNX file.")
    require_images(seeded.manifest)
    ort_web = assets.ort_web()
    _require_replaceable(folder)
    with replacing_folder(folder) as kit:
        shutil.copyfile(seeded.path, kit / MODEL)
        write_json(kit / MANIFEST, asdict(seeded.manifest))
        for language in ("python", "node", "web", *(("cpp",) if torchscript else ())):
            _copy(_TEMPLATES / language, kit / language)
        for language in ("node", "web"):
            _copy(_TEMPLATES / "js", kit / language)
        _fill(kit / "node" / "package.json", name=_package_name(seeded.manifest))
        packet = json.dumps(xmp(f"gantool {seeded.manifest.gantool}") if provenance else "")[1:-1]
        for program in ("python/generator.py", "node/example.mjs"):
            _fill(kit / program, xmp=packet)  # what JSON escapes, Python and JavaScript take in double quotes
        (kit / "web" / "ort").mkdir()
        for name in assets.ORT_WEB:
            shutil.copyfile(ort_web / name, kit / "web" / "ort" / name)
        if torchscript is not None:
            shutil.copyfile(torchscript.path, kit / "cpp" / TORCHSCRIPT)
        if playground:
            from gantool.export.app.playground import build

            (kit / PLAYGROUND).write_text(build(kit / MODEL, seeded.manifest, run, provenance), encoding="utf-8")
        cpp_part = _text(_TEMPLATES / "cpp" / readme.CPP_PART) if torchscript else ""
        text = readme.text(kit, seeded.manifest, _text(_TEMPLATES / README), cpp_part, provenance)
        (kit / README).write_text(text, encoding="utf-8")
        made = _listing(kit)
        _require_no_strangers(folder, made)
    return [folder / name for name in made]


def _require_replaceable(folder: Path) -> None:
    """GantoolError unless `folder` is new, empty or an app kit."""
    if folder.resolve() == Path.cwd():
        raise GantoolError(f"{folder} is the folder you are in: it can't be replaced.", "Name a new one: --app app")
    if not folder.exists():
        return
    if not folder.is_dir():
        raise GantoolError(f"{folder} is a file.", "Name a folder: --app DIR")
    if not any(folder.iterdir()):
        return
    try:
        manifest.from_json(read_bounded(folder / MANIFEST, MAX_JSON_BYTES), folder / MANIFEST)
        ours = read_bounded(folder / README, MAX_JSON_BYTES).startswith(readme.MARKER.encode())
    except GantoolError:
        ours = False
    if not ours:
        raise GantoolError(
            f"{folder} holds something else than an app kit: it is not replaced.", "Name another folder: --app DIR"
        )


def _require_no_strangers(folder: Path, made: Sequence[Path]) -> None:
    """GantoolError when the old kit has a file that is no kit's: a program that someone began in it, say."""
    cpp = {TORCHSCRIPT, *(item.name for item in (_TEMPLATES / "cpp").iterdir())}
    known = {*made, Path(PLAYGROUND), *(Path("cpp", name) for name in cpp)}  # a kit may be made without these
    for path in _listing(folder) if folder.exists() else []:
        if path not in known and not BY_PRODUCTS & set(path.parts):
            raise GantoolError(
                f"{folder} holds {path}, which no app kit has: it is not replaced.",
                "Move that file away, or name another folder: --app DIR",
            )


def _listing(folder: Path) -> list[Path]:
    """Files and links below `folder`, relative to it."""
    return sorted(p.relative_to(folder) for p in folder.rglob("*") if p.is_symlink() or not p.is_dir())


def _copy(source: Traversable, target: Path) -> None:
    """Templates are package data: compiled beside the source when the package is installed, hence what is left out."""
    target.mkdir(exist_ok=True)
    for item in source.iterdir():
        if item.is_file() and item.name != readme.CPP_PART:
            (target / item.name).write_bytes(item.read_bytes())
        elif item.is_dir() and item.name != "__pycache__":
            _copy(item, target / item.name)


def _fill(path: Path, **values: str) -> None:
    path.write_text(readme.fill(path.read_text(encoding="utf-8"), values), encoding="utf-8")


def _package_name(described: Manifest) -> str:
    """npm's names: lower case, and of letters that need no escape in JSON."""
    name = label("generator", str(described.architecture.get("name")), str(described.data.get("name"))).lower()
    assert re.fullmatch(r"[a-z0-9._-]+", name)
    return name


def _text(path: Traversable) -> str:
    return path.read_text(encoding="utf-8")
