"""A folder of real colour pictures, as mixed as people's own: formats, modes, sizes, orientations, transparency.

    python benchmarks/emoji.py OUT [--seed 0] [--limit N] [--broken N] [--package FILE.tgz]

3,781 Twemoji, 64×64 pixels with alpha, from the npm package emoji-datasource-twitter, which `npm pack` fetches (62 MB)
unless --package names it. Each is re-encoded by a rule that follows from the seed and its name, into a folder a
category, so that `gantool train cgan --data OUT --size 64` has labels. --broken adds files that nothing can decode.

Graphics: Twemoji, copyright Twitter, Inc and other contributors, CC BY 4.0, https://github.com/jdecked/twemoji
"""

from __future__ import annotations

import argparse
import collections
import hashlib
import io
import json
import random
import re
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import IO, cast

from PIL import Image

PACKAGE = "emoji-datasource-twitter@16.0.0"
SHA256 = "f64a530c63bca463bd8317fdc4615ce63a53a0c65018e4ce2d848aaba7a28877"
LICENCE = "Twemoji, copyright Twitter, Inc and other contributors, CC BY 4.0"
FOLDER = "package/img/twitter/64/"
SMALLEST, LARGEST = 40, 200  # pixels of a side
TURNED = {3: Image.Transpose.ROTATE_180, 6: Image.Transpose.ROTATE_90, 8: Image.Transpose.ROTATE_270}
Picture = tuple[str, str, Image.Image]  # category, name, RGBA
ORIENTATION = 0x0112  # the EXIF tag


# the rule


def shaped(image: Image.Image, rng: random.Random) -> Image.Image:
    """RGBA of a random size; every third with transparent margins on two sides, which a centre crop removes."""
    side = rng.randint(SMALLEST, LARGEST)
    image = image.resize((side, side), Image.Resampling.LANCZOS)
    if rng.random() < 1 / 3:
        longer = rng.randint(side, LARGEST)
        size = (longer, side) if rng.random() < 0.5 else (side, longer)
        canvas = Image.new("RGBA", size, (255, 255, 255, 0))
        canvas.paste(image, ((size[0] - side) // 2, (size[1] - side) // 2))
        image = canvas
    return image


def on_white(image: Image.Image) -> Image.Image:
    return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")


def saved(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def palette(image: Image.Image) -> Image.Image:
    """Mode P with up to 255 colours; the last entry, 255, is to be transparent."""
    colours = on_white(image).quantize(255, dither=Image.Dither.NONE)
    found = colours.getpalette() or []
    colours.putpalette(found + [0] * (768 - len(found)))  # the last one black: what forgets its transparency shows it
    colours.paste(255, mask=image.getchannel("A").point(lambda alpha: 255 if alpha < 128 else 0))
    return colours


def turned_jpeg(image: Image.Image, rng: random.Random) -> bytes:
    """Pixels lie on their side, as a camera stores them; the tag says how to hold them."""
    orientation = rng.choice(list(TURNED))
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    return saved(on_white(image).transpose(TURNED[orientation]), "JPEG", quality=92, exif=exif)


def animated(image: Image.Image, rng: random.Random) -> bytes:
    """The picture, then two frames of it turned: what counts is the first."""
    frames = [palette(image.rotate(angle)) for angle in (0, 120, 240)]
    return saved(frames[0], "GIF", save_all=True, append_images=frames[1:], transparency=255, disposal=2, duration=100)


def deep_grey(image: Image.Image, rng: random.Random) -> bytes:
    grey = on_white(image).convert("L")
    return saved(grey.convert("I").point(lambda value: value * 257).convert("I;16"), "PNG")


Encode = Callable[[Image.Image, random.Random], bytes]
KINDS: dict[str, tuple[int, str, Encode]] = {  # weight, suffix, how
    "png": (24, ".png", lambda image, rng: saved(image, "PNG")),
    "jpeg": (16, ".jpg", lambda image, rng: saved(on_white(image), "JPEG", quality=rng.randint(80, 95))),
    "jpeg, turned": (14, ".JPG", turned_jpeg),
    "jpeg, cmyk": (6, ".jpeg", lambda image, rng: saved(on_white(image).convert("CMYK"), "JPEG", quality=92)),
    "webp": (12, ".webp", lambda image, rng: saved(image, "WEBP", quality=90)),
    "png, palette": (8, ".png", lambda image, rng: saved(palette(image), "PNG", transparency=255)),
    "gif": (6, ".gif", lambda image, rng: saved(palette(image), "GIF", transparency=255)),
    "gif, animated": (4, ".gif", animated),
    "bmp": (3, ".bmp", lambda image, rng: saved(on_white(image), "BMP")),
    "tiff": (3, ".tif", lambda image, rng: saved(image, "TIFF", compression="tiff_lzw")),
    "png, grey and alpha": (2, ".png", lambda image, rng: saved(image.convert("LA"), "PNG")),
    "png, 16-bit grey": (2, ".png", deep_grey),
}


def encode(image: Image.Image, name: str, seed: int) -> tuple[str, str, bytes]:
    """(kind, suffix, file) of an RGBA picture; the same for the same picture, name and seed."""
    rng = random.Random(f"{seed}/{name}")
    kind = rng.choices(list(KINDS), [weight for weight, _, _ in KINDS.values()])[0]
    _, suffix, how = KINDS[kind]
    return kind, suffix, how(shaped(image, rng), rng)


def broken(number: int, rng: random.Random) -> tuple[str, bytes]:
    """(suffix, file) of one that can't be decoded: empty, cut short, or something else under that name."""
    noise = Image.frombytes("RGB", (64, 64), rng.randbytes(64 * 64 * 3))
    kinds = [
        (".png", b""),
        (".jpg", saved(noise, "JPEG")[:700]),
        (".png", saved(noise, "PNG")[:5000]),
        (".gif", b"<html>404 Not Found</html>"),
        (".webp", saved(noise, "WEBP")[:40]),
    ]
    return kinds[number % len(kinds)]


def write(pictures: Iterable[Picture], out: Path, seed: int = 0, bad: int = 0) -> collections.Counter[str]:
    """Write every picture as `out`/CATEGORY/NAME.SUFFIX, and `bad` broken files among them; how many of each kind."""
    counts: collections.Counter[str] = collections.Counter()
    for category, name, image in pictures:
        kind, suffix, data = encode(image, name, seed)
        folder = out / category
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{name}{suffix}").write_bytes(data)
        counts[kind] += 1
    folders = sorted(path for path in out.iterdir() if path.is_dir())
    rng = random.Random(seed)
    for number in range(bad):
        suffix, data = broken(number, rng)
        (rng.choice(folders) / f"broken-{number:03}{suffix}").write_bytes(data)
        counts["broken"] += 1
    (out / "LICENCE.txt").write_text(f"{LICENCE}\n", encoding="utf-8")
    return counts


# the package


def fetch(folder: Path) -> Path:
    """The package's archive, by `npm pack`."""
    try:
        subprocess.run(["npm", "pack", PACKAGE, "--silent"], cwd=folder, check=True, stdout=subprocess.DEVNULL)
    except (OSError, subprocess.CalledProcessError) as error:
        sys.exit(f"`npm pack {PACKAGE}` failed: {error}. Fetch it by hand and give --package FILE.tgz.")
    return next(folder.glob("*.tgz"))


def checked(package: Path) -> Path:
    with package.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != SHA256:
        sys.exit(f"{package} is not {PACKAGE}: its SHA-256 is {found}, expected {SHA256}.")
    return package


def pictures_in(package: Path, limit: int | None = None) -> Iterator[Picture]:
    """What the package shows, by name: each with its category. Read from the archive; nothing is unpacked."""
    with tarfile.open(package, "r:gz") as archive:
        members = {member.name: member for member in archive if member.isreg()}

        def read(name: str) -> bytes:
            return cast(IO[bytes], archive.extractfile(members[name])).read()

        categories = {}
        for emoji in json.loads(read("package/emoji.json")):
            for shown in (emoji, *emoji.get("skin_variations", {}).values()):
                if emoji["category"] != "Component":  # swatches of skin colours
                    categories[shown["image"]] = re.sub(r"[^a-z]+", "-", emoji["category"].lower())
        names = sorted(image for image in categories if FOLDER + image in members)
        if limit:
            names = random.Random(0).sample(names, min(limit, len(names)))
        for name in sorted(names, key=lambda image: members[FOLDER + image].offset):  # as they lie: one pass
            image = Image.open(io.BytesIO(read(FOLDER + name))).convert("RGBA")
            yield categories[name], Path(name).stem, image


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("out", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--limit", type=int, help="this many pictures, drawn at random")
    parser.add_argument("--broken", type=int, default=0, metavar="N", help="add N files that can't be decoded")
    parser.add_argument("--package", type=Path, help=f"the archive of {PACKAGE}, instead of fetching it")
    given = parser.parse_args(arguments)
    if given.out.exists() and any(given.out.iterdir()):
        sys.exit(f"{given.out} is not empty.")
    given.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        package = checked(given.package or fetch(Path(folder)))
        counts = write(pictures_in(package, given.limit), given.out, given.seed, given.broken)
    for kind, count in counts.most_common():
        print(f"{count:6,} {kind}")
    print(f"{sum(counts.values()):6,} files in {given.out}\n{LICENCE}")


if __name__ == "__main__":
    main()
