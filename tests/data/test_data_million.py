"""A million images are packed in little memory: from one .npy file, and from folders with long lists of names.

The .npy source is real: 3.07 GB on disk, read in pieces and written in pieces. The folder variant has 60,000 names,
hard links to 60 files: what grows with their number (names, labels, jobs) is measured between 10,000 and 60,000, and
the slope is held against what a million may take.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.commands import environment

from gantool.data.pack.writer import Layout, header

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="the peak is read from Linux's /proc"),
]
LIMIT = 1.5e9  # bytes, of each process
SCRIPT = """
import sys
from pathlib import Path
from gantool.data import load
from gantool.data.pack.build import pack

def peak():
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024

if __name__ == "__main__":
    source, out, workers = sys.argv[1:]
    packed = pack(source, Path(out), workers=int(workers))
    data = load(out)  # maps, reads nothing
    print(packed.description.count, data.images.nbytes, peak())
"""


def peak_of(source: Path, out: Path, workers: int) -> tuple[int, int, int]:
    """Rows, bytes of the images, and the peak of resident memory of the process that packs."""
    script = out.with_suffix(".py")
    script.write_text(SCRIPT)
    done = subprocess.run(
        [sys.executable, str(script), str(source), str(out), str(workers)],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=1800,
    )
    assert done.returncode == 0, done.stderr
    rows, size, peak = map(int, done.stdout.split())
    return rows, size, peak


def test_a_million_images_of_32_by_32(tmp_path: Path) -> None:
    if shutil.disk_usage(tmp_path).free < 8e9:
        pytest.skip("there is no room for two times 3.07 GB")
    rows, block = 1_000_000, np.random.default_rng(0).integers(0, 256, (10_000, 3, 32, 32), np.uint8)
    with (tmp_path / "million.npy").open("wb") as file:
        file.write(header(Layout("|u1", (3, 32, 32)), rows))
        for number in range(rows // len(block)):
            file.write((block + np.uint8(number)).data)
    count, size, peak = peak_of(tmp_path / "million.npy", tmp_path / "out", 1)
    assert (count, size) == (rows, rows * 3 * 32 * 32)
    assert peak < LIMIT
    assert peak < size / 5, "the images were held in memory"
    images = np.load(tmp_path / "out" / "images.npy", mmap_mode="r")
    np.testing.assert_array_equal(images[-1], block[-1] + np.uint8(99))


def test_the_names_of_a_million_files(tmp_path: Path) -> None:
    base = tmp_path / "base"
    base.mkdir()
    for i in range(60):
        pixels = np.random.default_rng(i).integers(0, 256, (32, 32, 3), np.uint8)
        Image.fromarray(pixels).save(base / f"{i}.bmp")
    peaks = []
    for count in (10_000, 60_000):
        folder = tmp_path / f"in{count}"
        for number in range(count):
            path = folder / f"class {number % 10}" / f"a name of the usual length {number:09}.bmp"
            path.parent.mkdir(parents=True, exist_ok=True)
            os.link(base / f"{number % 60}.bmp", path)
        rows, _, peak = peak_of(folder, tmp_path / f"out{count}", 2)
        assert rows == count
        peaks.append(peak)
    a_name = (peaks[1] - peaks[0]) / 50_000
    assert peaks[1] + 1_000_000 * a_name < LIMIT
