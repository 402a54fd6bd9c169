"""Read WAV files chunk by chunk."""

from __future__ import annotations


def chunks(file: bytes) -> dict[str, bytes]:
    """The chunks of a WAV file, in their order."""
    assert (file[:4], file[8:12], int.from_bytes(file[4:8], "little")) == (b"RIFF", b"WAVE", len(file) - 8)
    found, at = {}, 12
    while at < len(file):
        length = int.from_bytes(file[at + 4 : at + 8], "little")
        found[file[at : at + 4].decode()] = file[at + 8 : at + 8 + length]
        at += 8 + length + length % 2
    return found
