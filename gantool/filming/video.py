"""Films as MP4 and WebM, by PyAV: the frames and the song are encoded as they come."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np

from gantool.artifact.provenance import KEY, SOFTWARE, xmp
from gantool.errors import GantoolError
from gantool.filming.files import Form

# of a suffix: codec, its options, codec of the song
CODECS: dict[str, tuple[str, dict[str, str], str]] = {
    ".mp4": ("libx264", {"crf": "17", "preset": "medium"}, "aac"),
    ".webm": ("libvpx-vp9", {"crf": "24", "b": "0", "deadline": "good", "cpu-used": "4", "row-mt": "1"}, "libopus"),
}
XMP_BOX = UUID("be7acfcb-97a9-42e8-9c71-999491e3afac")  # XMP specification, part 3, 1.2.7
SONG_RATE = 48_000  # Opus takes no 44,100
BT709, LIMITED = 1, 1  # of colour space, primaries and transfer; of the range


def write_video(path: Path, frames: Iterable[np.ndarray], form: Form) -> None:
    """H.264 and AAC in .mp4, VP9 and Opus in .webm; sides are even."""
    import av

    suffix = path.suffix.lower()
    codec, options, song_codec = CODECS[suffix]
    container_options = {"movflags": "faststart+use_metadata_tags"} if suffix == ".mp4" else {}
    with av.open(str(path), "w", format=suffix[1:], options=container_options) as container:
        if form.about is not None:
            told = {"comment": form.about.describe(), "encoder": SOFTWARE, KEY: form.about.to_json()}
            container.metadata.update(told)
        try:
            stream: Any = container.add_stream(codec, rate=form.fps, options=options)
            song: Any = container.add_stream(song_codec, rate=SONG_RATE) if form.song else None
        except av.codec.codec.UnknownCodecError as error:
            raise GantoolError(
                f"This PyAV has no encoder {codec} or {song_codec}.", "Name a .webp, or: pip install av"
            ) from error
        stream.width, stream.height, stream.pix_fmt = form.width, form.height, "yuv420p"
        context = stream.codec_context
        context.colorspace = context.color_primaries = context.color_trc = BT709
        context.color_range = LIMITED
        heard = _sounds(form, song) if form.song else iter(())
        for number, frame in enumerate(frames):
            shown = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame.repeat(3 // frame.shape[2], 2)), "rgb24")
            shown = shown.reformat(format="yuv420p", dst_colorspace="ITU709")
            shown.pts, shown.time_base = number, Fraction(1, form.fps)
            container.mux(stream.encode(shown))
            container.mux(next(heard, []))
        container.mux(stream.encode(None))
        container.mux([packet for packets in heard for packet in packets])
    if form.about is not None and suffix == ".mp4":
        content = XMP_BOX.bytes + xmp(SOFTWARE).encode()
        with path.open("ab") as file:
            file.write((8 + len(content)).to_bytes(4, "big") + b"uuid" + content)


def _sounds(form: Form, stream: Any) -> Iterator[list[Any]]:
    """The encoded song, a list of packets for each frame, and one for the rest."""
    import av

    song = form.song
    assert song is not None
    layout = "mono" if song.channels == 1 else "stereo"
    stream.layout = layout
    gone = 0
    for block in song.blocks(form.fps, form.count):
        packets = []
        if len(block):
            planes = np.ascontiguousarray(block[:, :2].T)
            frame = av.AudioFrame.from_ndarray(planes, "fltp", layout)
            frame.sample_rate, frame.time_base, frame.pts = song.rate, Fraction(1, song.rate), gone
            gone += len(block)
            packets = stream.encode(frame)
        yield packets
    yield stream.encode(None)
