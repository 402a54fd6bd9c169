"""playground.html: a page that runs a person's own generator, from one file and without a network."""

from __future__ import annotations

import base64
import dataclasses
import functools
import gzip
import hashlib
import html
import json
import re
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import onnx
from google.protobuf.message import DecodeError

from gantool.artifact.manifest import NOUNS, Manifest
from gantool.artifact.provenance import SOFTWARE, of, xmp
from gantool.errors import GantoolError, cause, printable
from gantool.exporting.app import history
from gantool.exporting.onnx_files.seeds import INDEX, SEED
from gantool.run import curves, metrics_log
from gantool.run.rundir import RunDir
from gantool.system.files import read_bounded, read_json, reading, sha256_of

ASSETS = Path(__file__).parent / "assets"
ORT_WEB = ("ort.wasm.bundle.min.mjs", "ort-wasm-simd-threaded.wasm", "LICENSE")
RECORD = "onnxruntime-web.json"  # what the build installed: the version, and the SHA-256 of each file
_ASSETS_HINT = (
    "In a checkout: make assets; otherwise reinstall with the network: pip install --force-reinstall --no-deps gantool"
)
BUNDLE, WASM, _ = ORT_WEB
CHANNELS = {"image": (1, 3), "audio": (1, 2), "volume": (1,)}  # that a kit can show, by kind
MAX_SEEDED_BYTES = 256 * 2**20  # as base64 it has to fit a string of every browser
# in order: each may use what those before it define; `makePage` is in the last of a page's own
FIRST = ("engine.js", "host.js", "page.js", "state.js", "picture.js", "png.js", "files.mjs", "code.js", "controls.js")
LAST = ("charts.js", "training.js", "about.js", "selftest.js", "main.js")
SEEDS = ("enlarge.js", "samples.js", "between.js")
PICTURES = ("pictures.mjs", "examples.js", "drawing.js", "opening.js", "translate.js")
VIEWS = {
    "image": ("images.js", "seeds.js"),
    "audio": ("sounds.js", "pads.js"),
    "volume": ("rays.js", "volumes.js", "seeds.js"),
}
_KEYS = "Arrow keys move, <kbd>Enter</kbd> enlarges, <kbd>A</kbd> and <kbd>B</kbd> choose the ends below."
_GRID = "Arrow keys move, Enter enlarges, A and B choose the ends for “Between two {}s”."
_SLICE = """{0}<div class="field">
{0}  <label for="{1}">Slice <output for="{1}"></output></label>
{0}  <input id="{1}" type="range" min="-1" step="1">
{0}</div>
"""
_TURN = """        <div class="field">
          <label for="turn">Turn <output for="turn"></output></label>
          <input id="turn" type="range" min="-180" max="180" step="1">
        </div>
"""
# what seeds.html says of each kind
WORDS = {
    "image": {"save": "Save PNG", "save_strip": "Save strip PNG", "save_one": "Save as PNG", "keys": _KEYS},
    "audio": {
        "save": "Save WAV",
        "save_strip": "Save strip WAV",
        "save_one": "Save WAV",
        "grid": "Sounds. Their keys play them, arrow keys move.",
        "keys": "The keys <kbd>1</kbd> to <kbd>4</kbd> and those below them play the pads.",
        "box": 'section class="card"',
        "box_end": "section",
        "under": '      <div class="pair"><button id="hear" type="button">Play</button></div>\n',
    },
    "volume": {
        "save": "Save PNG",
        "save_strip": "Save strip PNG",
        "save_one": "Save binvox",
        "keys": "Drag a volume to turn all, or press <kbd>Shift</kbd> with an arrow key. " + _KEYS,
        "controls": _TURN + _SLICE.format(" " * 8, "slice"),
        "under": _SLICE.format(" " * 6, "slice-large"),
        "save_more": '\n        <button id="save-surface" type="button">Save GLB</button>',
    },
}
_SEEDED_HINT = "Give the generator.seeded.onnx that `gantool export` wrote."
_EXPORTS = re.compile(r"export\s*\{([^{}]*)\};?")


def require_fit(about: Manifest) -> None:
    """GantoolError unless a kit can be made of such a generator: images of 1 or 3 channels, from seeds or from one such
    picture, sounds of 1 or 2 channels or volumes of 1, from seeds, and a label.

    `about`: of the seeded file, or of any other of the same generator.
    """
    taken = [i for i in about.inputs if i.distribution == "data"]
    if taken and (about.picture is None or about.picture.channels not in (1, 3)):
        raise GantoolError(
            "An app kit makes images from seeds or from one picture; this generator takes "
            f"{', '.join(f'{i.name} {i.shape}' for i in taken)}.",
            "Export it with --onnx or --torchscript, and give it its inputs: gantool.runtime.Generator(…).run(inputs).",
        )
    if about.output.kind not in CHANNELS:
        raise GantoolError(
            f"An app kit has images, sounds or volumes; this generator makes samples of shape {about.output.shape}.",
            "Export it with --onnx, and call gantool.runtime.Generator(…).sample(n, seed).",
        )
    nouns, allowed = f"{about.output.noun}s", CHANNELS[about.output.kind]
    channels = about.output.channels_last[-1]
    if channels not in allowed:
        raise GantoolError(
            f"An app kit has {nouns} of {' or '.join(map(str, allowed))} channels; this generator's have {channels}.",
            "Export it with --seeded, and call gantool.runtime.Generator(…).sample(n, seed).",
        )
    labels = [i.name for i in about.inputs if i.distribution == "label"]
    if len(labels) > 1:
        raise GantoolError(f"An app kit asks for one label; this generator takes {', '.join(labels)}.")
    if about.batch is not None:
        raise GantoolError(
            f"An app kit makes any number of {nouns}; this file takes {about.batch} at a time.",
            "Export the kit without a fixed batch.",
        )


def build(seeded: Path, manifest: Manifest, run: RunDir | None = None, provenance: bool = True) -> str:
    """The text of a self-contained HTML page that makes the samples of `seeded`, a generator.seeded.onnx.

    `manifest`: that of the file. `run`: where it was trained, for its samples over time and its curves.
    `provenance`: whether a PNG or WAV file that the page saves says that a trained algorithm made it (IPTC, in XMP).
    Raises GantoolError for a file that is damaged, too large, or not fit for a page, and when the browser runtime is
    missing.
    """
    require_fit(manifest)
    try:
        model = onnx.load_from_string(read_bounded(seeded, MAX_SEEDED_BYTES))
    except DecodeError as error:
        raise GantoolError(
            f"{seeded} is not an ONNX file, or is damaged: {cause(error)}.", "Export it again."
        ) from error
    latents = [item.name for item in manifest.latents]
    takes_picture = manifest.picture is not None
    drawing, making = split(model, latents) if latents or not takes_picture else (None, model)
    page = {
        "manifest": embedded_manifest(manifest),
        "bytes": seeded.stat().st_size,
        "file": seeded.name,
        "strip": history.strip(run, sample_width(manifest)) if run else [],
        "curves": curves.panels(metrics_log.read_metrics(run)) if run else [],
        "run": run.name if run else "",
        "provenance": _provenance(manifest) if provenance else None,
    }
    payloads = {
        "latents": drawing.SerializeToString(deterministic=True) if drawing else None,
        "generator": making.SerializeToString(deterministic=True),
    }
    kind = manifest.output.kind
    scripts = [*FIRST, *(PICTURES if takes_picture else (*SEEDS, *VIEWS[kind])), *LAST]
    content = template("pictures.html") if takes_picture else _content(kind)
    return assembled(manifest, page, payloads, scripts, content)


def assembled(
    manifest: Manifest,
    page: Mapping[str, Any],
    payloads: Mapping[str, bytes | None],
    scripts: Sequence[str],
    content: str,
    style: str = "",
    what: str = "playground",
) -> str:
    """The text of a page around `content`: `page` is its JSON, `payloads` what its scripts unpack, beside the runtime.

    `scripts`: names of templates. `style`: CSS that is added. `what`: the end of its title.
    """
    runtime = ort_web()
    packed = {"ort": _packed_file(runtime / BUNDLE), "wasm": _packed_file(runtime / WASM)}
    packed |= {name: _packed(data) for name, data in payloads.items() if data}
    script = "(() => {\n" + "\n".join(template(name) for name in scripts) + "})();\n"
    style = template("style.css") + style
    parts = {
        "title": html.escape(printable(_title(manifest, what))),
        "policy": _policy(script, style),
        "style": style,
        "content": content,
        "nouns": f"{manifest.output.noun}s",
        "script": script,
        "data": embedded_json({**page, "licence": (runtime / "LICENSE").read_text(encoding="utf-8")}),
        "payloads": "\n".join(
            f'<script type="application/octet-stream" id="payload-{name}">{text}</script>'
            for name, text in packed.items()
        ),
    }
    return filled(template("index.html"), parts)


def embedded_manifest(manifest: Manifest) -> dict[str, Any]:
    fields = dataclasses.asdict(manifest)
    for golden in fields["golden"]:
        golden["seed"] = str(golden["seed"])  # JavaScript's numbers have 53 bits
    return fields


def sample_width(manifest: Manifest) -> int:
    """Pixels of one sample in the grids of a run: of sounds and volumes those of their pictures, or fewer."""
    return manifest.output.shape[1] if manifest.output.kind == "image" else 64


def _content(kind: str) -> str:
    """seeds.html in the words of a kind of samples."""
    noun = NOUNS[kind]
    usual = {"box": "dialog", "box_end": "dialog", "grid": f"{noun.title()}s. {_GRID.format(noun)}"}
    usual |= {"noun": noun, "Noun": noun.title(), "controls": "", "under": "", "save_more": ""}
    return filled(template("seeds.html"), usual | WORDS[kind])


def filled(text: str, parts: Mapping[str, str]) -> str:
    """One pass: what is filled in is never searched for placeholders."""
    return re.sub(r"\{\{(\w+)\}\}", lambda found: parts[found[1]], text)


def split(model: onnx.ModelProto, latents: Sequence[str]) -> tuple[onnx.ModelProto, onnx.ModelProto]:
    """Cut a seeded graph at its `latents`: `seed`, `index` → latents; latents and the other inputs → image.

    Each weight is in the half that uses it. Raises GantoolError when the graph has no such latents, or when its images
    depend on the seed in another way.
    """
    inputs = [value.name for value in model.graph.input]
    made = {name for node in model.graph.node for name in node.output}
    if not latents or not {SEED, INDEX} <= set(inputs) or not set(latents) <= made:
        raise GantoolError(
            f"The graph has no latents {', '.join(latents) or 'at all'} drawn from {SEED} and {INDEX}.", _SEEDED_HINT
        )
    extractor = onnx.utils.Extractor(model)
    others = [name for name in inputs if name not in (SEED, INDEX)]
    drawing = extractor.extract_model([SEED, INDEX], list(latents))
    making = extractor.extract_model([*latents, *others], [value.name for value in model.graph.output])
    for half, name in ((drawing, "latents"), (making, "generator")):
        half.graph.name = name
        del half.metadata_props[:]  # it describes the whole
        try:
            onnx.checker.check_model(half)
        except onnx.checker.ValidationError as error:
            raise GantoolError(
                f"The {name} part of the graph depends on the seed in another way: {str(error).strip()[:200]}",
                _SEEDED_HINT,
            ) from error
    return drawing, making


def embedded_json(value: Any) -> str:
    """JSON in ASCII for the inside of a <script>: nothing in it can end the element, or a line of JavaScript."""
    text = json.dumps(value, allow_nan=False, separators=(",", ":"))
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def _title(manifest: Manifest, what: str) -> str:
    names = [manifest.architecture.get("name"), manifest.data.get("name")]
    return " · ".join([*(name for name in names if isinstance(name, str) and name), what])


def _policy(script: str, style: str) -> str:
    """What the page may do: run this script and style and its own blobs; no network at all."""

    def digest(text: str) -> str:
        return "'sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() + "'"

    return "; ".join(
        [
            "default-src 'none'",
            f"script-src {digest(script)} 'wasm-unsafe-eval' blob:",
            f"style-src {digest(style)}",
            "worker-src blob:",
            "connect-src 'none'",
            "img-src data: blob:",
            "base-uri 'none'",
            "form-action 'none'",
        ]
    )


def _provenance(manifest: Manifest) -> dict[str, Any]:
    """What a picture says of the model; the page adds which images it shows."""
    source = dataclasses.replace(of(manifest, 0, 0), seed=None, first=None, count=None)
    made = source.describe().removeprefix(f"A generated {manifest.output.noun}, ")
    return {"xmp": xmp(SOFTWARE), "software": SOFTWARE, "model": json.loads(source.to_json()), "made": made}


def _packed(data: bytes) -> str:
    return base64.b64encode(gzip.compress(data, 9, mtime=0)).decode()


def _packed_file(path: Path) -> str:
    with reading(path):
        status = path.stat()
    return _packed_asset(path, status.st_mtime_ns, status.st_size)


@functools.lru_cache(maxsize=4)
def _packed_asset(path: Path, changed: int, size: int) -> str:
    data = path.read_bytes()
    return _packed(as_script(data.decode()).encode() if path.name == BUNDLE else data)


def as_script(bundle: str) -> str:
    """The bundle of onnxruntime-web without its export: what it exported is `ort`, for the code put after it.

    A module can't be imported by its name from a file:// page, nor from a worker made of a blob. Raises GantoolError
    when the bundle does not end in one export list.
    """
    found = _EXPORTS.findall(bundle)
    if len(found) != 1:
        raise GantoolError(f"{BUNDLE} has {len(found)} export lists, not 1: another version of it.")
    pairs = [entry.split(" as ") for entry in found[0].split(",")]
    members = ",".join(f"{pair[-1].strip()}:{pair[0].strip()}" for pair in pairs)
    script = _EXPORTS.sub(lambda _: f"const ort={{{members}}};", bundle)
    return re.sub(r"^//# sourceMappingURL=.*$", "", script, flags=re.MULTILINE)  # its map is not there


def template(name: str) -> str:
    folder = "js" if name.endswith(".mjs") else "playground"
    text = resources.files("gantool.exporting.app").joinpath("templates", folder, name).read_text(encoding="utf-8")
    return re.sub("^export ", "", text, flags=re.MULTILINE)  # a module of the kit, as a part of the page's script


def ort_web() -> Path:
    """The folder with the files ORT_WEB, as they were installed; GantoolError where one is missing or was changed."""
    for name in (*ORT_WEB, RECORD):
        if not (ASSETS / name).is_file():
            raise GantoolError(f"ONNX Runtime for the web is not installed: {ASSETS} has no {name}.", _ASSETS_HINT)
    record = read_json(ASSETS / RECORD)
    digests = record.get("files") if isinstance(record, dict) else None
    for name in ORT_WEB:
        if not isinstance(digests, dict) or digests.get(name) != sha256_of(ASSETS / name):
            raise GantoolError(
                f"ONNX Runtime for the web is damaged: {ASSETS / name} is not the file that was installed.",
                _ASSETS_HINT,
            )
    return ASSETS
