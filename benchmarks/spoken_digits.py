"""A folder of spoken digits: `zero` to `nine` by several voices, at several speeds and pitches, a sub-folder a digit.

    python benchmarks/spoken_digits.py OUT [--takes 80] [--seed 0]

WAV files of 22,050 Hz, mono, 16 bits, made by espeak-ng (`apt-get install espeak-ng`), 10 digits × --takes. The same
arguments make the same files where espeak-ng has the same version. Then: gantool data info OUT -o sheet.png
"""

from __future__ import annotations

import argparse
import itertools
import random
import shutil
import subprocess
import sys
from pathlib import Path

DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
ACCENTS = ("en", "en-us", "en-gb-scotland", "en-gb-x-rp", "en-gb-x-gbcwmd", "en-029")
VARIANTS = ("", "+m1", "+m3", "+m4", "+m7", "+f1", "+f2", "+f3", "+f4", "+f5")
SPEEDS = (130, 175)  # words a minute
PITCHES = (30, 70)  # of 0 to 99


def takes(count: int, seed: int) -> list[tuple[str, int, int]]:
    """Voice, speed and pitch of each take: all different while there are enough."""
    known = [
        (accent + variant, speed, pitch)
        for accent, variant, speed, pitch in itertools.product(ACCENTS, VARIANTS, SPEEDS, PITCHES)
    ]
    if count > len(known):
        sys.exit(f"--takes {count}: there are {len(known)} voices, speeds and pitches.")
    return random.Random(seed).sample(known, count)


def speak(word: str, voice: str, speed: int, pitch: int, file: Path) -> None:
    """Write the WAV file of `word`."""
    subprocess.run(
        ["espeak-ng", "-v", voice, "-s", str(speed), "-p", str(pitch), "-w", str(file), word],
        check=True, capture_output=True,
    )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--takes", type=int, default=80, help="of each digit (80)")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    if shutil.which("espeak-ng") is None:
        sys.exit("espeak-ng is missing: apt-get install espeak-ng")
    chosen = takes(asked.takes, asked.seed)
    for word in DIGITS:
        folder = asked.out / word
        folder.mkdir(parents=True, exist_ok=True)
        for voice, speed, pitch in chosen:
            speak(word, voice, speed, pitch, folder / f"{voice.replace('+', '-')}-{speed}-{pitch}.wav")
    print(f"{len(DIGITS) * len(chosen):,} files in {asked.out}. Next: gantool data info {asked.out}")


if __name__ == "__main__":
    main()
