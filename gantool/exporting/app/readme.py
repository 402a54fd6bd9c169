"""Write an app kit's README for its model. Texts of the manifest may be anybody's: they are escaped."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from importlib.resources.abc import Traversable
from pathlib import Path
from string import Template

from gantool.artifact.manifest import Manifest

MARKER = "<!-- An app kit, made by gantool export --app: the whole folder is replaced by the next one. -->\n"
README = "README.md"
PART = ".part.md"  # the end of the names of files that are put in READMEs
MAX_TEXT = 300  # characters of one value
MAX_CLASSES = 100  # rows of the table of labels
FOR = {
    "generator.seeded.onnx": "the model: {inputs} in, images out",
    "manifest.json": "what the model says about itself (it is in the file, too)",
    "python": "`generator.py`: numpy and onnxruntime",
    "node": "a package for Node, with types",
    "web": "a page and a module for browsers, with ONNX Runtime's WebAssembly in `web/ort/`",
    "cpp": "a program in C++ for LibTorch, and its model",
    "playground.html": "one file to play with: opens with a double click, works offline",
}
PRECISIONS = {
    "float32": "stored and computed in float32",
    "half-weights": "stored in float16, computed in float32",
    "half": "stored in float16, computed in float16 where the hardware can",
    "int8": "stored as 8-bit integers, computed with them where the hardware can",
}
# how far the images of two hosts agree: what computes in float32 differs by rounding alone
SAME = {
    True: "it is the same in every language and on\nevery machine (another processor, or LibTorch, may round a rare "
    "pixel differently, by {tolerance}).",
    False: "in Python, Node and browsers its pixels\ndiffer by up to {tolerance}. What computes in float32, as "
    "LibTorch does, makes other pixels.",
}

PICTURES = {
    True: "The PNG files that `generator.py`,\n`example.mjs` and the C++ program write have it, and as JSON, under the "
    "keyword `gantool`, the model, the seed and the\nnumbers that make them again. Those of your program need it, too.",
    False: "This kit was made with\n`--no-provenance`: its PNG files do not have it. Add it before you publish them.",
}


class _Filled(Template):
    delimiter = "%%"


def fill(template: str, values: Mapping[str, str]) -> str:
    """Replace each `%%{name}` by values["name"]; values are not searched for names. KeyError for an unknown one."""
    return _Filled(template).substitute(values)


def markdown(value: object) -> str:
    """A value as one line of Markdown text without markup, at most MAX_TEXT characters."""
    line = " ".join("".join(c if c.isprintable() else " " for c in str(value)).split())
    if len(line) > MAX_TEXT:
        line = line[: MAX_TEXT - 1] + "…"
    line = line.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\`*_\[\]|~#$])", r"\\\1", line)


def text(kit: Path, about: Manifest, templates: Traversable, provenance: bool) -> str:
    """The README of the finished folder `kit`, from its `templates`.

    `provenance`: whether the pictures that the kit's programs write say what made them.
    """
    use = "seeds" if about.picture is None else "pictures"
    template = _read(templates, README).replace("%%{use}", _read(templates, f"README.{use}.md"))
    cpp = [_read(templates / "cpp", f"README.{name}") for name in (PART[1:], use + PART)]
    height, width, channels = about.output.shape
    label = about.input("label")
    last = label.classes - 1 if label else 0
    values = {
        "title": f"{markdown(_of(about.architecture, 'name'))}, trained on {markdown(_of(about.data, 'name'))}",
        "facts": _table(("", ""), _facts(about)),
        "files": _table(("file", "size", "for"), _files(kit, about)),
        "of": " from pictures" if use == "pictures" else "",
        "shape": f"{height}, {width}, {channels}",
        "python_labels": f"\nothers = generator.sample(4, seed=7, labels={last})  # four of class {last}"
        if label
        else "",
        "js_labels": f"\nconst others = await generator.sample({{ seed: 7, count: 4, labels: {last} }}); "
        f"// four of class {last}"
        if label
        else "",
        "cpp": "\n\n".join(cpp)
        if (kit / "cpp").exists()
        else "This kit was made without the TorchScript file that the C++ part takes.",
        "labels": _labels(about) + _values(about),
        "pictures": PICTURES[provenance],
        "same": SAME[about.precision in ("float32", "half-weights")].format(
            tolerance=f"{about.tolerance} grey level{'' if about.tolerance == 1 else 's'}"
        ),
        "opset": str(about.opset),
        "created": markdown(about.created),
        "gantool": markdown(about.gantool),
        "weights": markdown(about.weights_sha256),
        **_pictures(about),
    }
    return MARKER + fill(template, values)


def _pictures(about: Manifest) -> dict[str, str]:
    """What is said of the picture that a generator takes; {} for one that takes none."""
    source = about.picture
    if source is None:
        return {}
    channels, seeded = source.channels, bool(about.latents)
    return {
        "source": _size_of(source.shape),
        "sizes": "Other sizes work, too: sides that the network can't take are filled up by the last row and column,\n"
        "and the result is cut."
        if source.multiple
        else "It takes that size alone.",
        "noise": "\n`seed` and `index` choose one of many results, which depends on these and the picture alone.\n\n"
        if seeded
        else "\n",
        "channels": str(channels),
        "result_channels": str(about.output.shape[-1]),
        "python_channels": ", channels=1" if channels == 1 else "",
        "python_seed": ", seed=7" if seeded else "",
        "js_seed": ", { seed: 7 }" if seeded else "",
    }


def _facts(about: Manifest) -> list[tuple[str, str]]:
    source = about.picture
    architecture, training, data = about.architecture, about.training, about.data
    plugin = f"{_of(architecture, 'plugin')} {architecture.get('plugin_version', '')}"
    samples = f", {data['count']} images" if isinstance(data.get("count"), int) else ""
    steps = f", {training['step']} steps" if isinstance(training.get("step"), int) else ""
    return [
        ("architecture", f"{markdown(_of(architecture, 'name'))} (plugin {markdown(plugin)})"),
        *([("generator", markdown(about.which))] if about.which else []),
        ("trained on", f"{markdown(_of(data, 'name'))}{markdown(samples)}"),
        ("training", f"run {markdown(_of(training, 'run'))}{markdown(steps)}"),
        (
            "licence of the data",
            markdown(about.licence) if about.licence.strip() else "not stated: ask who trained the model",
        ),
        *([("takes", f"{_size_of(source.shape)}, uint8")] if source else []),
        ("images", f"{_size_of(about.output.shape)}, uint8"),
        ("weights", PRECISIONS.get(about.precision, markdown(about.precision))),
    ]


def _files(kit: Path, about: Manifest) -> list[tuple[str, str, str]]:
    rows = []
    inputs = "`seed` and `index`" if about.picture is None else "a picture"
    for name, purpose in FOR.items():
        path = kit / name
        if path.exists():
            size = sum(p.stat().st_size for p in (path.rglob("*") if path.is_dir() else [path]) if p.is_file())
            rows.append((f"`{name}{'/' if path.is_dir() else ''}`", _size(size), purpose.format(inputs=inputs)))
    return rows


def _labels(about: Manifest) -> str:
    item = about.input("label")
    if item is None:
        return ""
    names = about.data.get("class_names")
    if not isinstance(names, list) or len(names) != item.classes:
        names = list(range(item.classes))
    rows = [(str(number), markdown(name)) for number, name in enumerate(names[:MAX_CLASSES])]
    rest = f"\n\nThe other names are in `manifest.json`, under `data`, up to label {item.classes - 1}."
    return (
        f"## Labels\n\nThe model makes images of {item.classes} classes. `labels` takes one number for all images, or "
        "one each; without it,\nimage *i* has class *i* modulo the number of classes. In the model itself, the input "
        f"is {markdown(item.name)}, int64 (n).\n\n"
        + _table(("label", "class"), rows)
        + (rest if item.classes > MAX_CLASSES else "")
        + "\n\n"
    )


def _values(about: Manifest) -> str:
    if not about.values:
        return ""
    rows = [(markdown(i.name), f"{i.low:g} to {i.high:g}", f"{i.default:g}") for i in about.values]
    return (
        "## Values\n\nNumbers that change the images. `values` takes them by name, one number for all images or one "
        "each; those that\nare not given have their defaults. In the model itself, each is float32 (n).\n\n"
        + _table(("name", "from", "default"), rows)
        + "\n\n"
    )


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    written = ["| " + " | ".join(row) + " |" for row in (head, *rows)]
    return "\n".join([written[0], "|" + "---|" * len(head), *written[1:]])


def _of(values: Mapping[str, object], key: str) -> str:
    """The text of a field, or `unnamed`."""
    return str(values.get(key) or "unnamed")


def _read(folder: Traversable, name: str) -> str:
    return (folder / name).read_text(encoding="utf-8").strip()


def _size_of(shape: tuple[int, ...]) -> str:
    height, width, channels = shape
    return f"{width} × {height} pixels, {'1 channel: grey' if channels == 1 else '3 channels: RGB'}"


def _size(size: int) -> str:
    return f"{size / 1e6:.1f} MB" if size >= 1e5 else f"{max(0.1, size / 1e3):.1f} kB"
