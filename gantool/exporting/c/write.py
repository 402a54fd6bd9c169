"""Write the folder of `gantool export --c`: C sources, weights and a self test, whole or not at all."""

from __future__ import annotations

import dataclasses
import itertools
import math
import re
import shutil
import string
import subprocess
import tempfile
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path

import numpy as np
import onnx

from gantool.artifact import inspection, latents
from gantool.artifact.manifest import Manifest
from gantool.errors import GantoolError, excerpt
from gantool.exporting import verify
from gantool.exporting.app.readme import markdown
from gantool.exporting.c.loops import Value, number
from gantool.exporting.c.network import ALIGN, Network, Weights, build
from gantool.exporting.verify import Check
from gantool.runtime import Generator
from gantool.system.files import listing, replacing_folder, require_place, write_json
from gantool.system.terminal import doing

BIN, README = "generator.bin", "README.md"
COPIED = ("kernels.h", "selftest.c", "Makefile", "CMakeLists.txt")
FILLED = ("generator.h", "generator.c", "example.c", README)
NAMES = {Path(name) for name in (*COPIED, *FILLED, BIN, "golden.h", "manifest.json")}
BY_PRODUCTS = {"example", "selftest", "sample.png", "sample.wav", "sample.pgm", "build"}
MARKER = b"/* Written by gantool export --c"
CHECKED = 16  # samples that a build is compared with
MAX_SHARE = 0.0002  # of their values that may be a level off
FLAGS = ("-std=c99", "-O2", "-march=native", "-ffp-contract=fast")
HEADER = 64  # bytes
MIX = 0x9E3779B97F4A7C15
_TEMPLATES = files("gantool.exporting.c") / "templates"


def check(folder: Path) -> None:
    """GantoolError unless `folder` is new, empty, or holds what an earlier export to C wrote, and what it built."""
    require_place(folder, "--c")
    others = [path for path in listing(folder) if path not in NAMES and not BY_PRODUCTS & set(path.parts)]
    source = folder / "generator.c"
    if source.is_file() and not source.read_bytes().startswith(MARKER):
        others.append(Path("generator.c"))
    if others:
        raise GantoolError(
            f"{folder} holds {others[0]}, which gantool did not write: it is not replaced.",
            "Name another folder, or move that file away: --c DIR",
        )


def write_c(plain: Path, folder: Path, say: Callable[[str], None] = lambda note: None) -> list[Path]:
    """Write the generator of `plain`, a generator.onnx with weights of 32 or 16 bits, into `folder`; its files.

    With a C compiler on this machine (cc, gcc or clang) it is built, and its samples are compared with those of the
    file; else `say` is told. GantoolError, and no folder, for an operator without a kernel or for other samples.
    """
    about = inspection.inspect(plain).manifest
    require_fit(about)
    check(folder)
    doing("writing the generator in C")
    made = build(onnx.load(str(plain)), _inputs(about), str(about.architecture.get("name", "generator")))
    with replacing_folder(folder) as new:
        _write(new, about, made)
        compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
        if compiler is None:
            say("no C compiler on this machine: the C sources were not built. Where there is one: make check")
        else:
            doing("building the generator in C, and comparing it")
            verify.demand(compare(compiler, new, Generator(plain, threads=1)))
        written = listing(new)
    return [folder / path for path in written]


def require_fit(about: Manifest) -> None:
    """GantoolError for a generator whose samples no seed decides, or that computes in other precisions."""
    if about.picture is not None or about.input("data") is not None or not about.latents or not about.output.levels:
        takes = ", ".join(f"{excerpt(i.name)} ({i.distribution})" for i in about.inputs)
        raise GantoolError(
            f"C is written for generators of images, sounds and volumes from seeds; this one takes {takes}.",
            "Use its ONNX file: gantool export --onnx",
        )
    if about.precision not in ("float32", "half-weights") or about.batch is not None:
        raise GantoolError("C computes one sample in float32.", "Leave --half, --int8 and --batch out.")


def compare(compiler: str, folder: Path, generator: Generator) -> list[Check]:
    """Build the self test of `folder` elsewhere, run it, and compare samples of seed 7 with the generator's."""
    about = generator.manifest
    with tempfile.TemporaryDirectory(prefix="gantool-") as temporary:
        program = str(Path(temporary) / "selftest")
        sources = [str(folder / name) for name in ("selftest.c", "generator.c")]
        _run([compiler, *FLAGS, "-o", program, *sources, "-lm"])
        _run([program, str(folder / BIN)])
        raw = _run([program, str(folder / BIN), "7", "0", str(CHECKED)])
    wanted = generator.sample(CHECKED, 7).astype(np.int64)
    made = np.frombuffer(raw, f"<{np.dtype(about.output.levels).str[1:]}").reshape(wanted.shape)
    off = np.abs(made - wanted)
    fine = latents.FINENESS.get(about.output.levels, 1)
    share = float((off > fine // 64).mean())
    return [
        Check("C", "levels off the file's own samples", float(off.max()), about.tolerance * max(1, fine // 16)),
        Check("C", "share of values off", share, MAX_SHARE),
    ]


def _run(command: list[str]) -> bytes:
    try:
        done = subprocess.run(command, capture_output=True, timeout=600, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise GantoolError(f"{Path(command[0]).name} could not run: {excerpt(str(error))}") from error
    if done.returncode:
        said = excerpt(done.stderr.decode(errors="replace").strip() or "nothing", 300)
        raise GantoolError(f"{Path(command[0]).name} ended with {done.returncode} and said: {said}", verify.HINT)
    return done.stdout


def _inputs(about: Manifest) -> dict[str, Value | None]:
    """Where the network finds each input."""
    found: dict[str, Value | None] = {}
    at = 0
    for item in about.latents:
        value = Value(f"latents + {at}", (1, *item.shape))
        found[item.name], at = value, at + value.size
    for place, item in enumerate(about.values):
        found[item.name] = Value(f"values + {place}", (1, *item.shape))
    return found | {item.name: None for item in about.inputs if item.distribution == "label"}


def _write(folder: Path, about: Manifest, made: Network) -> None:
    data = _contents(about, made)
    values = _values(about, made, data)
    (folder / BIN).write_bytes(data)
    for file in COPIED:
        (folder / file).write_bytes((_TEMPLATES / file).read_bytes())
    for file in FILLED:
        template = (_TEMPLATES / f"{file}.in").read_text(encoding="utf-8")
        (folder / file).write_text(string.Template(template).substitute(values), encoding="utf-8")
    (folder / "golden.h").write_text(_golden(about), encoding="utf-8")
    write_json(folder / "manifest.json", dataclasses.asdict(about))


def _contents(about: Manifest, made: Network) -> bytes:
    """The file of weights: a header of 64 bytes, the upper half of the quantiles, the pieces, slack."""
    parts = [latents.table()[1 << 15 :].astype("<f4").tobytes()]
    for piece in made.weights:
        if piece.scale is not None:
            parts.append(np.pad(piece.scale, (0, -len(piece.scale) % ALIGN)).astype("<f4").tobytes())
        parts.append(piece.array.astype(piece.array.dtype.newbyteorder("<")).tobytes())
    parts.append(bytes(4 * ALIGN))
    head = b"gantoolc" + (0x01020304).to_bytes(4, "little") + bytes(4) + _model(about)
    return head.ljust(HEADER, b"\0") + b"".join(parts)


def _model(about: Manifest) -> bytes:
    """16 bytes that tell the weights and their precision."""
    return bytes.fromhex(about.weights_sha256[:32]).ljust(16, b"\0")


def _checksum(data: bytes) -> int:
    words = np.frombuffer(data[HEADER:], "<u4").astype(np.uint64)
    mixed = (words ^ np.arange(words.size, dtype=np.uint64) * np.uint64(MIX)) * np.uint64(latents.HASH_KEY)
    return int((mixed ^ mixed >> np.uint64(32)).sum(dtype=np.uint64))


def _literal(text: str) -> str:
    """A C string literal of the text's UTF-8: octal, for three digits end where they end."""
    plain = set(string.ascii_letters + string.digits + " _.,:;()+-")
    return '"' + "".join(chr(b) if chr(b) in plain else f"\\{b:03o}" for b in text.encode("utf-8", "replace")) + '"'


def _word(text: str) -> str:
    """A text for a comment or an identifier in C."""
    return re.sub(r"\W", "_", text, flags=re.ASCII)[:60]


def _values(about: Manifest, made: Network, data: bytes) -> dict[str, str]:
    """What the templates are filled with."""
    output, classes, values, half = about.output, about.classes, about.values, about.precision == "half-weights"
    audio, name = output.kind == "audio", str(about.architecture.get("name", "generator"))
    axes = {"image": ("HEIGHT", "WIDTH"), "audio": ("LENGTH",)}.get(output.kind, ("DEPTH", "HEIGHT", "WIDTH"))
    defines: dict[str, object] = dict(zip(("CHANNELS", *axes), output.shape, strict=True))
    defines |= {"RATE": output.rate} if audio else {}
    defines |= {"CLASSES": classes} if classes else {}
    defines |= {"VALUES": len(values)} if values else {}
    latent = sum(math.prod(item.shape) for item in about.latents)
    weights = sum(piece.array.size for piece in made.weights) + ALIGN
    starts = list(itertools.accumulate(-(-n // ALIGN) * ALIGN for n in (made.floats, latent, weights * half)))
    memory = 4 * starts[-1] + 60  # the first is aligned to 64 bytes

    declared, defined = [f"#define GENERATOR_{key} {value}" for key, value in defines.items()], []
    if about.class_names:
        declared.append("extern const char *const generator_class_names[GENERATOR_CLASSES];")
        listed = ",\n    ".join(map(_literal, about.class_names))
        defined.append(f"const char *const generator_class_names[GENERATOR_CLASSES] = {{\n    {listed}}};")
    if values:
        words = [_word(item.name).upper() for item in values]
        words = [f"{word}_{i}" if word in words[:i] else word for i, word in enumerate(words)]
        declared.append(f"enum {{ {', '.join(f'GENERATOR_VALUE_{word}' for word in words)} }};")
        declared.append("typedef struct {\n    const char *name;\n    float start, low, high;\n} generator_value;")
        declared.append("extern const generator_value generator_values[GENERATOR_VALUES];")
        rows = [f"{{{_literal(v.name)}, {', '.join(map(number, (v.default, v.low, v.high)))}}}" for v in values]
        listed = ",\n    ".join(rows)
        defined.append(f"const generator_value generator_values[GENERATOR_VALUES] = {{\n    {listed}}};")
        defined.append(f"static const float defaults[] = {{{', '.join(number(v.default) for v in values)}}};")
    used = "\n".join(made.body)
    names = ["latents", *["label"] * bool(classes), *["values"] * bool(values)]
    unused = [f"(void){word};" for word in names if not re.search(rf"\b{word}\b", used)]
    checks = ["if (label < 0 || label >= GENERATOR_CLASSES) return GENERATOR_NO_CLASS;"] * bool(classes)
    checks += ["if (!values) values = defaults;"] * bool(values)
    scale, offset, low, high = ("32767", "0.5", "-32767", "32767") if audio else ("127.5", "128", "0", "255")
    training, origin = about.training, {"architecture": name, "data": about.data.get("name")}
    origin |= {"run": training.get("run"), "step": training.get("step"), "licence": about.licence or "none given"}
    return {
        "title": _word(name),
        "declared": "\n".join(declared),
        "defined": "\n".join(defined),
        "size": str(math.prod(output.shape)),
        "latents": str(latent),
        "normals": ", ".join(_word(item.name) for item in about.latents[:9]),
        "file_bytes": str(len(data)),
        "memory": str(memory),
        "level": f"{output.levels}_t",
        "out_about": f"{output.levels} {'×'.join(map(str, output.channels_last))} (channels last)",
        "float_about": f"{'×'.join(map(str, output.shape))} (channels first)",
        "api": ", int label" * bool(classes) + ", const float *values" * bool(values),
        "arguments": ", label" * bool(classes) + ", values" * bool(values),
        "arguments_about": f" label: 0 to {classes - 1}." * bool(classes)
        + " values: one each, in the order of generator_values, within their bounds; NULL: their starts."
        * bool(values),
        "checks": "\n    ".join([*checks, ""]),
        "example": ", label" * bool(classes) + ", NULL" * bool(values),
        "readme": ", 0 /* class */" * bool(classes) + ", NULL /* values */" * bool(values),
        "model": ", ".join(map(str, _model(about))),
        "declarations": "\n".join(made.declarations),
        "body": "\n".join(f"    {line}" for line in (*unused, *made.body)),
        "result": made.result,
        "checksum": str(_checksum(data)),
        "latents_at": str(starts[0]),
        "weights_at": str(starts[1]),
        "half": str(int(half)),
        "pieces": ",\n    ".join(f"{{{p.array.size}, {_rows(p)}, {p.lanes}, {p.panel}}}" for p in made.weights) * half,
        "scaled": f"x * {number(float(scale))} + {number(float(offset))}",
        "floor": "floorf" if audio else "",
        "low": number(float(low)),
        "high": number(float(high)),
        "tolerance": str(about.tolerance),
        "full": "65536" if audio else "256",
        "file_kb": f"{len(data) / 1000:,.0f}",
        "memory_kb": f"{memory / 1000:,.0f}",
        "bits": " in 16 bits" if half else "",
        "origin": "; ".join(f"{what} {markdown(value)}" for what, value in origin.items()),
    }


def _rows(piece: Weights) -> int:
    return 0 if piece.scale is None else len(piece.scale)


def _golden(about: Manifest) -> str:
    """The golden values as C, by image."""
    rows = []
    sides = about.output.channels_last
    for golden in about.golden:
        for pixel in sorted(golden.pixels, key=lambda pixel: int(pixel[0])):
            *place, values = pixel
            index, start = golden.first + int(place[0]), 0
            for step, side in zip(place[1:], sides[:-1], strict=True):
                start = start * side + int(step)
            for channel, value in enumerate(values):
                rows.append(
                    f"    {{INT64_C({golden.seed}), UINT64_C({index}), {start * sides[-1] + channel}, {value}}}"
                )
    arguments = ", (int)((i) % GENERATOR_CLASSES)" * bool(about.classes) + ", NULL" * bool(about.values)
    listed = ",\n".join(rows)
    return f"""\
/* Values of the samples that the exported file makes, and by how many levels another build's may differ. */
#include <stdint.h>
#include <stddef.h>

#define GOLDEN_TOLERANCE {about.tolerance}
#define GOLDEN_ARGUMENTS(i) {arguments}

typedef struct {{
    int64_t seed;
    uint64_t index;
    size_t place;
    long value;
}} golden_value;

static const golden_value golden[] = {{
{listed}}};
"""
