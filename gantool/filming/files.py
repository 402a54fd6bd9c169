"""Films as animated GIF, PNG and WebP, and as folders of PNG files, a frame at a time in memory.

Pillow holds all frames of an animation in memory. Here it compresses each frame by itself, and what it wrote goes into
the animation's container.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from gantool.artifact.pictures import png_info
from gantool.artifact.provenance import SOFTWARE, Provenance, xmp
from gantool.filming.music import Song

if TYPE_CHECKING:
    from PIL.Image import Image

MAX_GIF_FPS = 50  # browsers show a delay of less than 2/100 s as 10/100
QUALITY = 90  # of WebP
FRAME_NAME = "frame-{:06}.png"
_DESCRIPTION = 0x010E  # the EXIF tag ImageDescription
_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"


@dataclass(frozen=True)
class Form:
    """Frames uint8 (height, width, 1 or 3), `count` of them, `fps` a second; `song`: what is heard."""

    width: int
    height: int
    count: int
    fps: int
    about: Provenance | None = None
    song: Song | None = None

    def delays(self, unit: int) -> list[int]:
        """How long each frame stays, in 1/`unit` s: whole numbers that add up to the film's length."""
        ends = np.round(np.arange(self.count + 1) * unit / self.fps)
        return [int(delay) for delay in np.diff(ends)]


def picture_of(frame: np.ndarray) -> Image:
    from PIL import Image

    return Image.fromarray(frame[:, :, 0] if frame.shape[2] == 1 else frame)


def write_gif(path: Path, frames: Iterable[np.ndarray], form: Form) -> None:
    """GIF89a, a palette a frame. XMP: in an application extension (XMP specification, part 3, 1.1.2)."""
    from PIL import GifImagePlugin, Image

    with path.open("wb") as file:
        file.write(b"GIF89a" + struct.pack("<HHBBB", form.width, form.height, 0x70, 0, 0))
        file.write(b"!\xff\x0bNETSCAPE2.0\x03\x01\0\0\0")  # again and again
        if form.about is not None:
            text = _text(form.about).encode()
            parts = [text[start : start + 255] for start in range(0, len(text), 255)]
            file.write(b"!\xfe" + b"".join(bytes([len(part)]) + part for part in parts) + b"\0")
            # read as blocks, the text and these bytes, any of which may be taken for a length, end at the last ones
            file.write(b"!\xff\x0bXMP DataXMP" + xmp(SOFTWARE).encode() + b"\1" + bytes(range(255, -1, -1)) + b"\0")
        for frame, delay in zip(frames, form.delays(100), strict=True):
            own = picture_of(frame)
            own = own.convert("P") if own.mode == "L" else own.convert("P", palette=Image.Palette.ADAPTIVE)
            for part in GifImagePlugin.getdata(own, duration=10 * delay, include_color_table=True):
                file.write(part)
        file.write(b";")


def write_png(path: Path, frames: Iterable[np.ndarray], form: Form) -> None:
    """Animated PNG (https://www.w3.org/TR/png-3/#apngFrameBasedAnimation); other programs show the first frame."""
    numbers = iter(range(2 * form.count))
    with path.open("wb") as file:
        for row, frame in enumerate(frames):
            stream = io.BytesIO()
            picture_of(frame).save(stream, "PNG", pnginfo=png_info(form.about) if form.about and not row else None)
            chunks = list(_png_chunks(stream.getvalue()))
            if not row:
                file.write(_PNG_SIGNATURE + _png_chunk(*chunks[0]))
                file.write(_png_chunk(b"acTL", struct.pack(">II", form.count, 0)))
                file.writelines(_png_chunk(*chunk) for chunk in chunks[1:] if chunk[0] not in (b"IDAT", b"IEND"))
            sides = (form.width, form.height, 0, 0, 1, form.fps, 0, 0)
            file.write(_png_chunk(b"fcTL", struct.pack(">IIIIIHHBB", next(numbers), *sides)))
            for name, content in chunks:
                if name == b"IDAT":
                    number = struct.pack(">I", next(numbers)) if row else b""
                    file.write(_png_chunk(b"fdAT" if row else b"IDAT", number + content))
        file.write(_png_chunk(b"IEND", b""))


def write_webp(path: Path, frames: Iterable[np.ndarray], form: Form) -> None:
    """Animated WebP (RFC 9649, section 2.7)."""
    from PIL import Image

    sides = _u24(form.width - 1) + _u24(form.height - 1)
    with path.open("wb") as file:
        file.write(b"RIFF\0\0\0\0WEBP")
        file.write(_riff_chunk(b"VP8X", struct.pack("<I", 0x0E if form.about else 0x02) + sides))
        file.write(_riff_chunk(b"ANIM", bytes(6)))  # background, 0 loops: again and again
        for frame, delay in zip(frames, form.delays(1000), strict=True):
            stream = io.BytesIO()
            picture_of(frame).save(stream, "WEBP", quality=QUALITY)
            still = stream.getvalue()[12:]  # behind RIFF, its size and WEBP: one chunk, as nothing is transparent
            file.write(_riff_chunk(b"ANMF", bytes(6) + sides + _u24(delay) + b"\2" + still))
        if form.about is not None:
            exif = Image.Exif()
            exif[_DESCRIPTION] = _text(form.about)
            file.write(_riff_chunk(b"EXIF", exif.tobytes().removeprefix(b"Exif\0\0")))
            file.write(_riff_chunk(b"XMP ", xmp(SOFTWARE).encode()))
        size = file.tell()
        file.seek(4)
        file.write(struct.pack("<I", size - 8))


def write_folder(path: Path, frames: Iterable[np.ndarray], form: Form) -> None:
    """A PNG for each frame: frame-000000.png and so on."""
    info = None if form.about is None else png_info(form.about)
    for number, frame in enumerate(frames):
        picture_of(frame).save(path / FRAME_NAME.format(number), pnginfo=info)


def _png_chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    at = len(_PNG_SIGNATURE)
    while at < len(data):
        size, name = struct.unpack_from(">I4s", data, at)
        yield name, data[at + 8 : at + 8 + size]
        at += size + 12


def _png_chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def _riff_chunk(name: bytes, content: bytes) -> bytes:
    return name + struct.pack("<I", len(content)) + content + bytes(len(content) % 2)


def _text(about: Provenance) -> str:
    return f"{about.describe()}\n{about.to_json()}"


def _u24(number: int) -> bytes:
    return struct.pack("<I", number)[:3]
