"""A worker's memory does not grow with the images that it makes."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from support.commands import TIMEOUT, environment

SCRIPT = """
import sys
from pathlib import Path
from gantool.shards import generating, processes
from gantool.shards.maker import Maker

def make_here(plan, artifact, out, todo, workers, report):  # a worker's work, in this process
    maker = Maker(plan, artifact, out)
    for shard in todo:
        report(maker.make(shard))

processes.run = make_here
file, out, format, count = sys.argv[1:]
done = generating.generate(Path(file), Path(out), count=int(count), shard_size=int(count), format=format)
peak = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM:"))
print(done.bytes, int(peak.split()[1]) * 1024)
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="the peak is read from Linux's /proc")
@pytest.mark.parametrize(
    ("format", "counts"), [("npy", (2048, 60_000)), ("png-tar", (2048, 12_000)), ("parquet", (8192, 24_000))]
)
def test_the_peak_of_a_worker_does_not_grow_with_a_shard(
    tmp_path: Path, tiny_export: Callable[..., Path], format: str, counts: tuple[int, int]
) -> None:
    if format == "parquet":
        pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    file = tiny_export(3, 32, 32) / "generator.seeded.onnx"
    sizes, peaks = [], []
    for count in counts:
        done = subprocess.run(
            [sys.executable, "-c", SCRIPT, str(file), str(tmp_path / str(count)), format, str(count)],
            env=environment(),
            capture_output=True,
            text=True,
            timeout=TIMEOUT,
        )
        assert done.returncode == 0, done.stderr
        size, peak = map(int, done.stdout.split())
        sizes.append(size)
        peaks.append(peak)
    assert sizes[1] - sizes[0] > 40e6, "too little to show anything"
    assert peaks[1] - peaks[0] < 0.3 * (sizes[1] - sizes[0])
