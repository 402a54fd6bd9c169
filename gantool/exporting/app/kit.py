"""Write the folder of an app kit, whole or not at all."""

from __future__ import annotations

import json
import re
import shutil
import string
from dataclasses import asdict, replace
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import TYPE_CHECKING

from gantool.artifact import latents, manifest
from gantool.artifact.manifest import FILES, Manifest
from gantool.artifact.provenance import of, xmp
from gantool.errors import GantoolError
from gantool.exporting.app import readme
from gantool.exporting.app.playground import ORT_WEB, ort_web, require_fit
from gantool.run.rundir import RunDir, label
from gantool.system.files import MAX_JSON_BYTES, listing, read_bounded, replacing_folder, require_place, write_json
from gantool.system.terminal import doing

if TYPE_CHECKING:
    from gantool.exporting.source import Artifact

MODEL, TORCHSCRIPT = FILES["onnx-seeded"], FILES["torchscript-seeded"]
LANGUAGES = ("python", "node", "web", "cpp")
SAMPLERS, NORMALS = "samplers", "normals.f32"  # for programs that draw the latents of generator.onnx themselves
JAVASCRIPT = ("node", "web")  # what these have in common is in the folder js
MANIFEST, README, PLAYGROUND = "manifest.json", readme.README, "playground.html"
# made by using a kit: a kit with these in it is still replaced
BY_PRODUCTS = {"node_modules", "package-lock.json", "__pycache__", ".venv", "build"}
BY_PRODUCTS |= {"grid.png", "samples.png", "sounds.wav", "volume.binvox"}
_TEMPLATES = files("gantool.exporting.app") / "templates"


def check(folder: Path, about: Manifest) -> None:
    """Check what `write_app` needs before the model's files are made; GantoolError when one is missing.

    That is a fit generator (see `require_fit`), the files for the web, and a `folder` that is new, empty or a kit.
    """
    require_fit(about)
    ort_web()
    _require_kit(folder)


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
    check(folder, seeded.manifest)
    runtime = ort_web()
    doing(f"writing the kit {folder}")
    with replacing_folder(folder) as kit:
        shutil.copyfile(seeded.path, kit / MODEL)
        write_json(kit / MANIFEST, asdict(seeded.manifest))
        for language in LANGUAGES:
            if language != "cpp" or torchscript:
                _copy(_TEMPLATES / language, kit / language)
        if seeded.manifest.latents:
            write_samplers(kit / SAMPLERS)
        for host in JAVASCRIPT:
            _copy(_TEMPLATES / "js", kit / host)
        _fill(kit / "node" / "package.json", name=_package_name(seeded.manifest))
        packet = json.dumps(_packet(seeded.manifest) if provenance else "")[1:-1]
        for program in ("python/generator.py", "node/example.mjs"):
            _fill(kit / program, xmp=packet)  # what JSON escapes, Python and JavaScript take in double quotes
        (kit / "web" / "ort").mkdir()
        for name in ORT_WEB:
            shutil.copyfile(runtime / name, kit / "web" / "ort" / name)
        if torchscript is not None:
            shutil.copyfile(torchscript.path, kit / "cpp" / TORCHSCRIPT)
            fill_cpp(kit / "cpp", torchscript.manifest, provenance)
        if playground:
            from gantool.exporting.app.playground import build

            (kit / PLAYGROUND).write_text(build(kit / MODEL, seeded.manifest, run, provenance), encoding="utf-8")
        text = readme.text(kit, seeded.manifest, _TEMPLATES, provenance)
        (kit / README).write_text(text, encoding="utf-8")
        made = listing(kit)
    return [folder / name for name in made]


def write_samplers(folder: Path) -> None:
    """The random generator of latents in several languages, and the table that they read."""
    _copy(_TEMPLATES / SAMPLERS, folder)
    (folder / NORMALS).write_bytes(latents.table().astype("<f4").tobytes())


def fill_cpp(folder: Path, about: Manifest, provenance: bool = True) -> None:
    """Fill the C++ sources in `folder` with the provenance that their pictures carry, of the model that `about` is of.

    Without `provenance`, pictures carry none.
    """
    values = {
        "xmp": _packet(about),
        "about": replace(of(about, 0, 0), seed=None, first=None, count=None).to_json(),
        "weights": about.weights_sha256,
    }
    literals = {name: _cpp_literal(value if provenance else "") for name, value in values.items()}
    _fill(folder / "provenance.hpp", **literals)


def _packet(about: Manifest) -> str:
    return xmp(f"gantool {about.gantool}")


def _cpp_literal(text: str) -> str:
    """The inside of a C++ string literal of the text's UTF-8: octal, for three digits end where they end."""
    plain = set(string.ascii_letters + string.digits + " !#%&'()*+,-./:;<=>[]^_{|}~$@`")
    return "".join(chr(byte) if chr(byte) in plain else f"\\{byte:03o}" for byte in text.encode())


def _require_kit(folder: Path) -> None:
    """GantoolError unless `folder` is new, empty or an app kit, to which nothing was added."""
    require_place(folder, "--app")
    if not folder.exists() or not any(folder.iterdir()):
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
    known = _names()
    for path in listing(folder):  # a program that someone began in it, say
        if path not in known and not BY_PRODUCTS & set(path.parts):
            raise GantoolError(
                f"{folder} holds {path}, which no app kit has: it is not replaced.",
                "Move that file away, or name another folder: --app DIR",
            )


def _names() -> set[Path]:
    """Every file that a kit may have."""
    names = {Path(MODEL), Path(MANIFEST), Path(README), Path(PLAYGROUND), Path("cpp", TORCHSCRIPT)}
    names |= {Path("web", "ort", name) for name in ORT_WEB}
    names.add(Path(SAMPLERS, NORMALS))
    for language in (*LANGUAGES, SAMPLERS):
        names |= {Path(language, item.name) for item in (_TEMPLATES / language).iterdir()}
    return names | {Path(host, item.name) for host in JAVASCRIPT for item in (_TEMPLATES / "js").iterdir()}


def _copy(source: Traversable, target: Path) -> None:
    """Copy a folder of templates, without the __pycache__ that installing the package makes."""
    target.mkdir(exist_ok=True)
    for item in source.iterdir():
        if item.is_file() and not item.name.endswith(readme.PART):
            (target / item.name).write_bytes(item.read_bytes())
        elif item.is_dir() and item.name != "__pycache__":
            _copy(item, target / item.name)


def _fill(path: Path, **values: str) -> None:
    path.write_text(readme.fill(path.read_text(encoding="utf-8"), values), encoding="utf-8")


def _package_name(about: Manifest) -> str:
    """npm's names: lower case, and of letters that need no escape in JSON."""
    name = label("generator", str(about.architecture.get("name")), str(about.data.get("name"))).lower()
    assert re.fullmatch(r"[a-z0-9._-]+", name)
    return name
