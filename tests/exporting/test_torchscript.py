"""gantool.exporting.torch_files.torchscript: LibTorch loads it, equal to torch, manifest inside, no warning."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from support.exports import Tiny
from torch import Tensor

from gantool.exporting.torch_files import torchscript

pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")


@pytest.mark.slow
def test_no_warning_of_torch_reaches_a_user(tmp_path: Path) -> None:
    code = (
        "from pathlib import Path; from gantool import exporting; from support.exports import Tiny, source;"
        "from gantool.exporting.torch_files import archive, torchscript;"
        f"exporting.write(source(Tiny()), ['torchscript', 'torchscript-seeded', 'pt2'], Path({str(tmp_path)!r}));"
        f"archive.load(Path({str(tmp_path / 'generator.pt2')!r}));"
        f"torchscript.load(Path({str(tmp_path / 'generator.torchscript.pt')!r}))"
    )
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}
    command = [sys.executable, "-W", "error", "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


class Made(Tiny):
    """Makes a tensor on the device of its input, of as many rows."""

    def wild(self, x: Tensor) -> Tensor:
        return x + torch.full((x.shape[0], 1, 8, 8), 0.25, device=x.device)


def test_no_device_is_baked_in(tmp_path: Path) -> None:
    traced = torchscript.trace(Made(), [torch.randn(2, 4)])
    assert devices_of(traced.inlined_graph)  # as torch leaves it
    torchscript.save(torchscript.freeze(traced), tmp_path / "made.pt", "{}")
    loaded = torchscript.load(tmp_path / "made.pt")
    assert not devices_of(loaded.inlined_graph)
    z = torch.randn(7, 4)
    with torch.no_grad():
        torch.testing.assert_close(loaded(z), Made()(z), atol=1e-6, rtol=0)


def devices_of(graph: Any) -> list[Any]:
    constants = graph.findAllNodes("prim::Constant")
    return [c for c in constants if isinstance(c.output().type(), torch._C.DeviceObjType)]
