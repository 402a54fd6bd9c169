"""Write the model card of exported files: README.md, as the Hugging Face hub reads it, and a picture of samples.

Texts of manifests and evaluations may be anybody's: they are escaped, in Markdown by `markdown`, in YAML as strings of
JSON. What stands between marks of "yours" in a card is kept when it is written again.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from importlib.resources import files as resources
from pathlib import Path
from typing import Any

import numpy as np

from gantool import __version__
from gantool.artifact import pictures, points
from gantool.artifact.cards import cards
from gantool.artifact.manifest import InputInfo, Manifest
from gantool.artifact.provenance import of
from gantool.errors import GantoolError, excerpt
from gantool.exporting.app.readme import KINDS, fill, markdown, table
from gantool.metrics.verdict import COPIES
from gantool.run import directions
from gantool.run.rundir import label
from gantool.runtime import Generator
from gantool.runtime.saving import save
from gantool.sharing.model import MAX_BYTES, PICTURE, README, Evaluation, Model, is_card
from gantool.system.files import read_bounded, replacing_files

TASKS = {"image": "unconditional-image-generation"}  # of the hub; it has none for sounds and volumes of no input
CARDS, POINTS = 8, 1000  # samples of a picture of test cards, and of points
_YOURS = re.compile(r"^(?:<!--|#) yours: ([a-z ]+?)(?: -->)?\n(.*?)^(?:<!--|#) /yours", re.MULTILINE | re.DOTALL)
_BEGINS = re.compile(r"^(?:<!--|#) yours: ", re.MULTILINE)


def write(model: Model, folder: Path, licence: str = "", datasets: Sequence[str] = ()) -> Path:
    """Write README.md and samples.png to `folder`, both or none; the path of the README.

    `licence`, `datasets`: of the model, as the hub names them; else what the old card says. GantoolError: a README.md
    is there that is no card, or whose marks are damaged.
    """
    path = folder / README
    yours = _yours(path)
    with replacing_files(folder) as new:
        shown = _samples(model, new / PICTURE)
        yours["metadata"] = _metadata_of_yours(yours.get("metadata", ""), licence, datasets)
        (new / README).write_text(_text(model, shown, yours), encoding="utf-8", newline="\n")
    return path


def _yours(path: Path) -> dict[str, str]:
    """What people have written in the card `path`, by the names of its marks."""
    if not path.exists():
        return {}
    if not is_card(path):
        raise GantoolError(f"{path} is no card of gantool: it is not replaced.", "Name another folder: -o DIR")
    text = read_bounded(path, MAX_BYTES).decode(errors="replace").replace("\r\n", "\n")
    found = dict(_YOURS.findall(text))
    if len(found) != len(_BEGINS.findall(text)):
        raise GantoolError(
            f"A mark of yours in {path} is damaged: what you have written would be lost.",
            "Each part begins with a line <!-- yours: NAME --> and ends with <!-- /yours -->.",
        )
    return found


def _metadata_of_yours(text: str, licence: str, datasets: Sequence[str]) -> str:
    """The lines of YAML that are people's: licence and data sets of the hub, and what they have added."""
    given: dict[str, Any] = {"license": licence, "datasets": list(datasets)}
    for key, value in given.items():
        line = f"{key}: {json.dumps(value)}\n"
        old = re.compile(rf"^{key}:.*\n(?:[ -].*\n)*", re.MULTILINE)
        if value:
            text = old.sub("", text) + line
    return text if re.search("^license:", text, re.MULTILINE) else 'license: "unknown"\n' + text


def _text(model: Model, shown: str, yours: Mapping[str, str]) -> str:
    about = model.about
    name = f"{markdown(_text_of(about.architecture, 'name') or 'unnamed')}, trained on {markdown(_data_name(about))}"
    values = {
        "metadata": _metadata(model, yours["metadata"]),
        "title": name + (f" ({markdown(about.which)})" if about.which else ""),
        "warnings": "".join(f"> **Note.** {text}\n\n" for text in _warnings(model, yours["metadata"])),
        "picture": f"![samples of this model]({PICTURE})\n\n{shown}\n" if shown else "",
        "noun": about.output.noun,
        **_use(about, model.files[0].path.name),
        "limits": "\n".join(f"- {text}" for text in _limits(model)),
        "data": table(("", ""), _data(model)),
        "training": table(("", ""), _training(model)),
        "settings": _settings(about),
        "figures": "\n\n".join(map(_evaluation, model.evaluations)) or "No evaluation was made of this checkpoint.",
        "files": table(
            ("file", "what", "bytes", "SHA-256"),
            [
                (f"`{file.path.name}`", f"{file.about.kind}, {file.about.precision}", f"{file.bytes:,}", file.sha256)
                for file in model.files
            ],
        )
        + "\n\nEach was compared with PyTorch when it was exported; its manifest, `.json` beside it, has the results.",
        "interface": _interfaces(model),
        "values": _values(model),
        "golden": _golden(model),
    }
    made = fill((resources("gantool.sharing") / "card.md").read_text(encoding="utf-8"), values)
    known = {part[1] for part in _YOURS.finditer(made)}
    made += "".join(f"\n<!-- yours: {n} -->\n{text}<!-- /yours -->\n" for n, text in yours.items() if n not in known)

    def kept(part: re.Match[str]) -> str:
        start, end = (place - part.start() for place in part.span(2))
        return part[0][:start] + yours.get(part[1], part[2]) + part[0][end:]

    return _YOURS.sub(kept, made)


def _metadata(model: Model, yours: str) -> str:
    """The YAML that is not people's: keys that they have written are left out."""
    about, name = model.about, label(_text_of(model.about.architecture, "name"), _data_name(model.about))
    task = _task(about)
    results = [
        {
            "task": {"type": task or "other"},
            "dataset": {"name": excerpt(each.data.name), "type": label(each.data.name)},
            "metrics": [
                {"type": excerpt(key), "name": excerpt(figure.name), "value": figure.value}
                for key, figure in each.figures.items()
                if figure.value is not None
            ],
        }
        for each in model.evaluations
    ]
    kind = about.output.kind
    values: dict[str, Any] = {
        "library_name": "gantool",
        **({"pipeline_tag": task} if task else {}),
        "tags": ["gantool", "gan", "onnx", label(_text_of(about.architecture, "name")), *([kind] if kind else [])],
        **({"model-index": [{"name": name, "results": results}]} if results else {}),
    }
    own = {key: value for key, value in values.items() if not re.search(f"^{key}:", yours, re.MULTILINE)}
    return "\n".join(_yaml(own))


def _yaml(value: Any, pad: str = "") -> list[str]:
    """Lines of YAML: texts as JSON strings, which YAML reads, and a point in every number that has an exponent."""
    lines = []
    for key, item in value.items() if isinstance(value, dict) else (("-", item) for item in value):
        head = pad + ("-" if isinstance(value, list) else f"{key}:")
        if isinstance(item, dict | list):
            inside = _yaml(item, pad + "  ")
            lines += [f"{head} {inside[0].lstrip()}", *inside[1:]] if isinstance(value, list) else [head, *inside]
        else:
            lines.append(head + " " + re.sub(r"^(-?[0-9]+)e", r"\1.0e", json.dumps(item, ensure_ascii=False)))
    return lines


def _task(about: Manifest) -> str:
    """The hub's name of what the model does; "": it has none."""
    return "image-to-image" if about.picture else TASKS.get(about.output.kind, "")


def _warnings(model: Model, yours: str) -> list[str]:
    found = []
    if not model.evaluations:
        other = f" Steps of its run that have one: {', '.join(map(str, model.evaluated))}." if model.evaluated else ""
        found.append(f"No evaluation was made of this checkpoint: nothing here says how good it is.{other}")
    if not model.about.licence.strip():
        found.append("The licence of the data is not known. Ask before you use the model or share it.")
    if re.search('^license: "?unknown', yours, re.MULTILINE):
        found.append("The licence of the model is not stated.")
    return found


def _limits(model: Model) -> list[str]:
    about, noun = model.about, model.about.output.noun
    found = [
        f"Its {noun}s are made after {markdown(_data_name(about))}: faults and biases of these data are in them, too."
    ]
    for each in model.evaluations:
        found.append(
            f"Measured: {', '.join(markdown(figure.name) for figure in each.figures.values())}, and how near {noun}s "
            f"are to those it was trained on, with {each.fakes:,} {noun}s against {each.reals:,} of "
            f"{markdown(each.data.name)}."
        )
        found += map(markdown, each.notes)
    other = "anything else" if model.evaluations else "anything"
    found.append(
        f"Not measured: {other}. Neither how people judge the {noun}s, nor whether they treat groups of people alike, "
        "nor whether they are fit for a use."
    )
    return found


def _use(about: Manifest, file: str) -> dict[str, str]:
    """The lines of Python, and the command."""
    opened, kind = f'import gantool\n\ngenerator = gantool.Generator("{file}")\n', about.output.kind
    noun, shape = about.output.noun, ", ".join(map(str, about.output.channels_last))
    if about.picture is not None:
        opened = opened.replace("\n\n", "\nfrom PIL import Image\n\n", 1)
        line = f'{noun}s = generator.translate(Image.open("picture.png"))  # uint8 (1, {shape})'
        command = f"gantool generate {file} --input picture.png -o {noun}.png"
    elif about.golden or about.input("data") is None:
        line = f"{noun}s = generator.sample(16, seed=7)  # {about.output.levels or 'float32'} (16, {shape})"
        command = f"gantool generate {file}{KINDS[kind]['file']}" if kind in KINDS else ""
    else:
        line, command = f"{noun}s = generator.run(inputs)  # its inputs, by name", ""
    return {"python": opened + line, "command": f"```sh\n{command}\n```\n\n" if command else ""}


def _samples(model: Model, path: Path) -> str:
    """Draw samples of the first file; what they are, "" where the file needs data that is not there."""
    about, file = model.about, model.files[0].path
    generator, noun, origin = Generator(file), about.output.noun, f"of seed 0, made by `{file.name}`"
    if about.picture is not None:
        given = cards(0, CARDS, *about.picture.sides, about.picture.channels)
        shown = pictures.side_by_side(given, generator.translate(given))
        pictures.save_png(pictures.grid(shown, columns=2), path, of(about, 0, 0, CARDS))
        return f"Test cards by a formula, each beside what the model makes of it: {noun}s 0 to {CARDS - 1} {origin}."
    if about.input("data") is not None:
        return ""
    if about.output.kind == "point":
        made = points.scatter(np.empty((0, 2), np.float32), generator.sample(POINTS))
        pictures.save_png(pictures.grid(made, gap=0, scale=1), path)
        return f"Points 0 to {POINTS - 1} {origin}."
    if about.output.kind not in KINDS or generator.shape[-1] not in (
        1,
        3,
        *([2] if about.output.kind == "audio" else []),
    ):
        return ""
    asked = save(generator, path)
    names = about.class_names or tuple(map(str, range(about.classes)))
    rows = f" Rows: {', '.join(markdown(names[i]) for i in asked.labels)}." if asked.rows > 1 else ""
    return f"The {noun}s 0 to {asked.n - 1} {origin}.{rows}"


def _data(model: Model) -> list[tuple[str, ...]]:
    about, data = model.about, model.about.data
    count = data.get("count")
    names = data.get("class_names")
    classes = ", ".join(map(str, names)) if isinstance(names, list) else ""
    return [
        ("name", markdown(_data_name(about))),
        ("samples", f"{count:,}" if isinstance(count, int) else "not recorded"),
        ("fingerprint", markdown(_text_of(data, "fingerprint") or "not recorded")),
        ("licence", markdown(about.licence.strip() or "not known")),
        *([("classes", markdown(classes))] if classes else []),
    ]


def _training(model: Model) -> list[tuple[str, ...]]:
    about, training = model.about, model.about.training
    architecture, recipe = about.architecture, about.training.get("recipe")
    batch = recipe.get("batch_size") if isinstance(recipe, dict) else None
    step = training.get("step")
    drawn = (
        f", {step * batch:,} samples in batches of {batch}" if isinstance(step, int) and isinstance(batch, int) else ""
    )
    plugin = f"{_text_of(architecture, 'plugin')} {_text_of(architecture, 'plugin_version')}"
    rows = [
        ("architecture", f"{markdown(_text_of(architecture, 'name'))} (plugin {markdown(plugin)})"),
        ("run", markdown(_text_of(training, "run"))),
        ("steps", f"{step}{drawn}" if isinstance(step, int) else "not recorded"),
        ("seed", markdown(training.get("seed", "not recorded"))),
    ]
    if model.run is not None:
        info = model.run.read()
        several = f", {info.processes} processes" if info.processes > 1 else ""
        rows.append(("computed on", f"{markdown(info.device)}{several}, {markdown(info.precision)}"))
        rows.append(("trained with", _versions(info.versions)))
    exporter = f"gantool {about.gantool}, {', '.join(f'{k} {v}' for k, v in about.versions.items())}"
    return [*rows, ("exported with", markdown(exporter)), ("card by", f"gantool {__version__}")]


def _versions(versions: Mapping[str, object]) -> str:
    return markdown(", ".join(f"{name} {version}" for name, version in versions.items()))


def _settings(about: Manifest) -> str:
    """Config and recipe, whole."""
    found = ""
    for title, values in (("Config", about.architecture.get("config")), ("Recipe", about.training.get("recipe"))):
        if isinstance(values, dict) and values:
            rows = [(markdown(key), markdown(json.dumps(value))) for key, value in values.items()]
            found += f"<details><summary>{title}</summary>\n\n{table(('option', 'value'), rows)}\n\n</details>\n\n"
    return found


def _evaluation(each: Evaluation) -> str:
    rows = []
    for key, figure in each.figures.items():
        deviation = "" if figure.deviation is None else f" ± {figure.deviation:.2g}"
        floor = each.floor.get(key)
        rows.append(
            (
                markdown(figure.name),
                "none" if figure.value is None else f"{figure.value:.4g}{deviation}",
                "" if floor is None else f"{floor:.4g}",
                markdown(figure.better),
            )
        )
    memory = each.memorisation
    both = (("features", memory.features), ("pixels", memory.pixels))
    ratios = {f"{name} (among {space.among:,})": space.ratio for name, space in both if space.ratio is not None}
    rows += [(f"nearest real, by {name}", f"{ratio:.4g}", "", "near 1") for name, ratio in ratios.items()]
    copies = "copies, or nearly so" if any(ratio < COPIES for ratio in ratios.values()) else "no copies"
    parts = [
        f"**{markdown(each.verdict)}**",
        table(("figure", "value", "a second half of the data", "better"), rows),
        f"{each.fakes:,} samples of the model and {each.reals:,} of {markdown(each.data.name)} ({each.data.count:,}, "
        f"fingerprint {markdown(each.data.fingerprint)}), seed {each.seed}, step {each.subject.step}; features by "
        f"{markdown(each.extractor.name)}, version {markdown(each.extractor.version)}.",
        f"Memorisation: **{copies if ratios else 'not measured'}** (copies: a nearest real below {COPIES}). "
        + markdown(memory.how_to_read),
    ]
    if each.classes is not None:
        parts.append(
            f"Missing classes: {markdown(', '.join(each.classes.missing) or 'none')}. Largest deviation of a class's "
            f"share: {100 * each.classes.max_deviation:.1f} points."
        )
    return "\n\n".join(parts)


def _interfaces(model: Model) -> str:
    """Inputs and output of the files, those that are alike together."""
    alike: dict[str, list[str]] = {}
    for file in model.files:
        rows = [("in", markdown(i.name), i.dtype, _sides(i), _meaning(i)) for i in file.about.inputs]
        out = file.about.output
        meant = f"{out.noun}s, axes {out.layout}" + (f", {out.rate:,} samples a second" if out.rate else "")
        rows.append(("out", markdown(out.name), out.dtype, _sides(None, file.about.output_axes), meant))
        alike.setdefault(table(("", "name", "type", "shape", "what"), rows), []).append(f"`{file.path.name}`")
    return "".join(f"### {', '.join(names)}\n\n{rows}\n\n" for rows, names in alike.items())


def _sides(item: InputInfo | None, axes: Sequence[int | None] = ()) -> str:
    """The shape with its batch: n, but 1 of a seed."""
    first = "1" if item and item.distribution == "seed" else "n"
    return f"({', '.join([first, *('any' if side is None else str(side) for side in (item.axes if item else axes))])})"


def _meaning(item: InputInfo) -> str:
    return {
        "normal": "standard normal",
        "label": f"a class, 0 to {item.classes - 1}",
        "value": f"{item.low:g} to {item.high:g}, default {item.default:g}",
        "seed": "one for all samples",
        "index": "the number of each sample",
    }.get(item.distribution, f"a picture, multiples of {item.multiple}" if item.multiple else "data")


def _values(model: Model) -> str:
    """What the inputs are that are values: directions of the run say how they were found."""
    if not model.about.values:
        return ""
    known = directions.named(model.run, model.about.which) if model.run else ()
    found = {each.name: f"{each.about}, found by {each.method} at step {each.step}" for each in known}
    rows = [(markdown(i.name), _meaning(i), markdown(found.get(i.name, ""))) for i in model.about.values]
    return f"## Values\n\n{table(('name', 'range', 'direction'), rows)}\n\n"


def _golden(model: Model) -> str:
    alike: dict[tuple[str, str, str], list[str]] = {}
    for file in model.files:
        for each in file.about.golden:
            key = (str(each.seed), f"{each.first} to {each.first + each.count - 1}", markdown(each.sha256))
            alike.setdefault(key, []).append(f"`{file.path.name}`")
    rows = [(", ".join(names), *key) for key, names in alike.items()]
    if not rows:
        return "The files have none."
    how = "`gantool.Generator(FILE).self_test()` makes them again and compares. Digests are of bytes, channels last."
    return f"{how}\n\n{table(('files', 'seed', 'samples', 'SHA-256'), rows)}"


def _data_name(about: Manifest) -> str:
    return _text_of(about.data, "name") or "data"


def _text_of(values: Mapping[str, object], key: str) -> str:
    return str(values.get(key) or "")
