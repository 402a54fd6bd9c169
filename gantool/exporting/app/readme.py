"""Write an app kit's README for its model. Texts of the manifest may be anybody's: they are escaped."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from importlib.resources.abc import Traversable
from pathlib import Path
from string import Template

from gantool.artifact.manifest import Manifest
from gantool.artifact.sounds import ASSUMED_RATE

MARKER = "<!-- An app kit, made by gantool export --app: the whole folder is replaced by the next one. -->\n"
README = "README.md"
PART = ".part.md"  # the end of the names of files that are put in READMEs
MAX_TEXT = 300  # characters of one value
MAX_CLASSES = 100  # rows of the table of labels
FOR = {
    "generator.seeded.onnx": "the model: {inputs} in, {nouns} out",
    "manifest.json": "what the model says about itself (it is in the file, too)",
    "python": "`generator.py`: numpy and onnxruntime",
    "node": "a package for Node, with types",
    "web": "a page and a module for browsers, with ONNX Runtime's WebAssembly in `web/ort/`",
    "cpp": "a program in C++ for LibTorch, and its model",
    "samplers": "the random generator of latents in other languages",
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
    "{value} differently, by {tolerance}).",
    False: "in Python, Node and browsers its {value}s\ndiffer by up to {tolerance}. What computes in float32, as "
    "LibTorch does, makes other {value}s.",
}

# what is different of each kind of samples
KINDS = {
    "image": {
        "one": "a picture",
        "arrays": "Arrays are uint8, (n, height, width, channels): ready to show.",
        "file": " -n 16 -o grid.png",
        "made": "PNG files",
        "cpp_file": " --count 64 -o samples.png",
        "axes": "H, W, C",
        "off": "about one pixel in five thousand is one grey level",
        "where": "the\nkeyword `gantool`",
        "array": "Uint8Array",
        "python_more": "",
        "node_more": "",
    },
    "audio": {
        "one": "a recording",
        "arrays": "Arrays are int16, (n, samples, channels), from -32767 to 32767; {rate}. Divided by 32767 they\n"
        "are the numbers from -1 to 1 that audio programs take.",
        "file": " -n 4 -o sounds.wav",
        "made": "WAV files",
        "cpp_file": " --count 4 -o sounds.wav",
        "axes": "T, C",
        "off": "some values are one level of 32767",
        "where": "a chunk\n`gant` (XMP in `_PMX`)",
        "array": "Int16Array",
        "python_more": """
A sound as a WAV file, by `write_wav`, which says in it where the sound comes from, or by the standard library:

```python
import wave

from generator import Generator

generator = Generator()
sound = generator.sample(1, seed=7)[0]  # int16 ({shape})
with wave.open("sound.wav", "wb") as file:
    file.setnchannels(sound.shape[1])
    file.setsampwidth(2)  # bytes
    file.setframerate(generator.rate)
    file.writeframes(sound.tobytes())
```
""",
        "node_more": """
A sound as a WAV file:

```js
import {{ writeFile }} from "node:fs/promises";
import {{ wav }} from "./files.mjs";
import {{ Generator }} from "./generator.mjs";

const generator = await Generator.open();
const {{ data, shape }} = await generator.sample({{ seed: 7 }}); // one sound
await writeFile("sound.wav", wav(data, shape[2], generator.rate));
```
""",
    },
    "volume": {
        "one": "a shape",
        "arrays": "Arrays are uint8, (n, depth, height, width, 1): depth from front to back, height from top to "
        "bottom, width from left to\nright. A voxel of 128 and more is filled.",
        "file": " -o volume.binvox",
        "made": "binvox files",
        "cpp_file": " -o volume.binvox",
        "axes": "D, H, W, 1",
        "off": "about one voxel in five thousand is one level of 255",
        "where": "",
        "array": "Uint8Array",
        "python_more": """
What is filled, and how much of the box that is:

```python
from generator import Generator

volume = Generator().sample(1, seed=7)[0, ..., 0]  # uint8 ({sides})
filled = volume >= 128  # bool, [depth, height, width]
print(filled.shape, filled.mean())
```
""",
        "node_more": """
What is filled, as a binvox file, which programs for voxels open:

```js
import {{ writeFile }} from "node:fs/promises";
import {{ binvox }} from "./files.mjs";
import {{ Generator }} from "./generator.mjs";

const generator = await Generator.open();
const {{ data, shape }} = await generator.sample({{ seed: 7 }}); // one volume
await writeFile("volume.binvox", binvox(data, shape.slice(1)));
```
""",
    },
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
    output, noun = about.output, about.output.noun
    sides = ", ".join(map(str, output.shape))
    rate = f"the rate is not known, {ASSUMED_RATE:,} a second is taken"
    if output.rate:
        rate = f"{output.rate:,} are a second"
    kind = {
        name: part.format(rate=rate, shape=sides, sides=sides.rpartition(",")[0])
        for name, part in KINDS[output.kind].items()
    }
    is_image = output.kind == "image"
    label = about.input("label")
    last = label.classes - 1 if label else 0
    words = kind | {"noun": noun, "nouns": f"{noun}s", "Noun": noun.title(), "dtype": output.dtype, "shape": sides}
    values = {
        **words,
        "title": f"{markdown(_of(about.architecture, 'name'))}, trained on {markdown(_of(about.data, 'name'))}",
        "facts": table(("", ""), _facts(about)),
        "files": table(("file", "size", "for"), _files(kit, about)),
        "of": " from pictures" if use == "pictures" else "",
        "page": fill(_read(templates, f"page.{output.kind}{PART}"), {"shape": sides}),
        "python_labels": f"\nothers = generator.sample(4, seed=7, labels={last})  # four of class {last}"
        if label
        else "",
        "js_labels": f"\nconst others = await generator.sample({{ seed: 7, count: 4, labels: {last} }}); "
        f"// four of class {last}"
        if label
        else "",
        "cpp": fill("\n\n".join(cpp), words)
        if (kit / "cpp").exists()
        else "This kit was made without the TorchScript file that the C++ part takes.",
        "labels": _samplers(about) + _labels(about) + _values(about),
        "pictures": _marked(kind["made"], kind["where"], provenance),
        "same": SAME[about.precision in ("float32", "half-weights")].format(
            tolerance=f"{about.tolerance}{' grey' * is_image} level{'' if about.tolerance == 1 else 's'}",
            value="pixel" if is_image else "value",
        ),
        "opset": str(about.opset),
        "created": markdown(about.created),
        "gantool": markdown(about.gantool),
        "weights": markdown(about.weights_sha256),
        **_pictures(about),
    }
    return MARKER + fill(template, values)


def _marked(files: str, where: str, provenance: bool) -> str:
    """Whether the files that the kit's programs write say what made them."""
    if not where:
        return f"{files.capitalize()} have no place for it:\nsay it beside them."
    if not provenance:
        return f"This kit was made with\n`--no-provenance`: its {files} do not have it. Add it before you publish them."
    return (
        f"The {files} that `generator.py`,\n`example.mjs` and the C++ program write have it, and as JSON, under "
        f"{where}, the model, the seed and the numbers that make them again. Those of your program need it, too."
    )


def _pictures(about: Manifest) -> dict[str, str]:
    """What is said of the picture that a generator takes; {} for one that takes none."""
    source = about.picture
    if source is None:
        return {}
    channels, seeded = source.channels, bool(about.latents)
    return {
        "source": size_of(source.shape),
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
    nouns = f"{about.output.noun}s"
    samples = f", {data['count']} {nouns}" if isinstance(data.get("count"), int) else ""
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
        *([("takes", f"{size_of(source.shape)}, uint8")] if source else []),
        (nouns, f"{size_of(about.output.shape, about.output.rate)}, {about.output.dtype}"),
        ("weights", PRECISIONS.get(about.precision, markdown(about.precision))),
    ]


def _files(kit: Path, about: Manifest) -> list[tuple[str, str, str]]:
    rows = []
    words = {
        "inputs": "`seed` and `index`" if about.picture is None else "a picture",
        "nouns": f"{about.output.noun}s",
    }
    for name, purpose in FOR.items():
        path = kit / name
        if path.exists():
            size = sum(p.stat().st_size for p in (path.rglob("*") if path.is_dir() else [path]) if p.is_file())
            rows.append((f"`{name}{'/' if path.is_dir() else ''}`", _size(size), purpose.format(**words)))
    return rows


def _samplers(about: Manifest) -> str:
    if not about.latents:
        return ""
    noise = ", then ".join(f"{markdown(item.name)} ({', '.join(map(str, item.shape))})" for item in about.latents)
    return (
        "## Other languages\n\nA program whose runtime does not take `generator.seeded.onnx` can run `generator.onnx` "
        "(`gantool export --onnx`) and draw\nits latents itself: `samplers/` has the random generator in C, C#, Java, "
        "Rust, Go, Swift, GDScript and WGSL, one small file each, which\nreads `normals.f32`. They give the same bits "
        f"as the seeded file. The latents here: {noise}, drawn together and cut in that\norder.\n\n"
    )


def _labels(about: Manifest) -> str:
    item = about.input("label")
    if item is None:
        return ""
    names = about.data.get("class_names")
    if not isinstance(names, list) or len(names) != item.classes:
        names = list(range(item.classes)) if item.classes <= MAX_CLASSES else []
    rows = [(str(number), markdown(name)) for number, name in enumerate(names[:MAX_CLASSES])]
    noun = about.output.noun
    rest = f"\n\nThe other names are in `manifest.json`, under `data`, up to label {item.classes - 1}."
    return (
        f"## Labels\n\nThe model makes {noun}s of {item.classes} classes, 0 to {item.classes - 1}. `labels` takes one "
        f"number for all {noun}s, or one each; without it,\n{noun} *i* has class *i* modulo the number of classes. In "
        f"the model itself, the input is {markdown(item.name)}, int64 (n).\n\n"
        + (table(("label", "class"), rows) + (rest if item.classes > MAX_CLASSES else "") + "\n\n" if rows else "")
    )


def _values(about: Manifest) -> str:
    if not about.values:
        return ""
    noun = about.output.noun
    rows = [(markdown(i.name), f"{i.low:g} to {i.high:g}", f"{i.default:g}") for i in about.values]
    return (
        f"## Values\n\nNumbers that change the {noun}s. `values` takes them by name, one number for all {noun}s or one "
        "each; those that\nare not given have their defaults. In the model itself, each is float32 (n).\n\n"
        + table(("name", "from", "default"), rows)
        + "\n\n"
    )


def table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    written = ["| " + " | ".join(row) + " |" for row in (head, *rows)]
    return "\n".join([written[0], "|" + "---|" * len(head), *written[1:]])


def _of(values: Mapping[str, object], key: str) -> str:
    """The text of a field, or `unnamed`."""
    return str(values.get(key) or "unnamed")


def _read(folder: Traversable, name: str) -> str:
    return (folder / name).read_text(encoding="utf-8").strip()


def size_of(shape: tuple[int, ...], rate: int = 0) -> str:
    """The size of a sample, channels last; `rate` of a sound, 0: not known."""
    if len(shape) == 2:
        length = f", {shape[0] / rate:.3g} s" if rate else ""
        return f"{shape[0]} samples{length}, {'mono' if shape[1] == 1 else 'stereo'}"
    if len(shape) == 4:
        return f"{' × '.join(map(str, shape[:3]))} voxels"
    height, width, channels = shape
    return f"{width} × {height} pixels, {'1 channel: grey' if channels == 1 else '3 channels: RGB'}"


def _size(size: int) -> str:
    return f"{size / 1e6:.1f} MB" if size >= 1e5 else f"{max(0.1, size / 1e3):.1f} kB"
