"""CUDA libraries that compute nothing, so that onnxruntime-gpu opens its CUDA provider on any machine.

ONNX Runtime's own partitioner then says on which provider each node of a file would run. Dense layers also run, for
captures and replays to be counted; convolutions are only placed (cuDNN plans them itself).
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

SOURCE = Path(__file__).with_suffix(".c")
LIBRARIES = (
    "libcudart.so.13",
    "libcublas.so.13",
    "libcublasLt.so.13",
    "libcudnn.so.9",
    "libcuda.so.1",
    "libcurand.so.10",
)
DESCRIPTORS = (
    "Activation",
    "Convolution",
    "Dropout",
    "Filter",
    "LRN",
    "Pooling",
    "RNNData",
    "RNN",
    "ReduceTensor",
    "Tensor",
)
NAME = re.compile(r"\b(_*cu[A-Za-z0-9_]+)\s*\(")
COUNTED = ("launches", "captures", "replays", "h2d", "mallocs")
GRAPH = {"enable_cuda_graph": "1", "use_tf32": "0"}
SETTINGS: dict[str, dict[str, str]] = {
    "plain": {},
    "graph": GRAPH,
    "nhwc": {"prefer_nhwc": "1"},
    "heuristic": {"cudnn_conv_algo_search": "HEURISTIC"},
    "graph nhwc": {**GRAPH, "prefer_nhwc": "1"},
}


def provider() -> Path | None:
    """The library of the installed ONNX Runtime's CUDA provider, if it has one."""
    found = find_spec("onnxruntime")
    assert found is not None
    assert found.submodule_search_locations
    path = Path(found.submodule_search_locations[0]) / "capi" / "libonnxruntime_providers_cuda.so"
    return path if path.is_file() else None


def build(folder: Path) -> None:
    """Write the libraries that the provider asks for to `folder`."""
    cuda = provider()
    assert cuda is not None
    wanted: dict[str, str] = {}
    for library in (cuda, cuda.with_name("libonnxruntime_providers_tensorrt.so")):
        listed = subprocess.run(["nm", "-D", "--undefined-only", library], capture_output=True, text=True, check=True)
        for line in listed.stdout.splitlines():
            name, _, version = line.split()[-1].partition("@")
            if re.match(r"_*cu", name):
                wanted[name] = version
    for match in re.findall(rb"cudnn[A-Z][A-Za-z0-9_]+(?=\x00)", cuda.read_bytes()):  # looked up by name
        wanted.setdefault(match.decode(), "libcudnn.so.9")
    text = SOURCE.read_text()
    text += "".join(f"int cudnnCreate{kind}Descriptor(void**d){{return made(d);}}\n" for kind in DESCRIPTORS)
    text += "int cudnnBackendCreateDescriptor(int t,void**d){return made(d);}\n"
    known = set(NAME.findall(text))
    text += "".join(f"int {name}(){{return 0;}}\n" for name in sorted(wanted) if name not in known)
    (folder / "fake.c").write_text(text)
    for library in LIBRARIES:  # all of it under each name, with a version of its own
        versions = folder / "versions.map"
        versions.write_text(f"{library} {{ global: *; }};\n")
        command = ["gcc", "-w", "-O1", "-shared", "-fPIC", "-o", folder / library, folder / "fake.c"]
        command += [f"-Wl,-soname,{library}", f"-Wl,--version-script={versions}"]
        subprocess.run(list(map(str, command)), check=True, timeout=300)


def placed(folder: Path) -> dict[str, dict[str, Any]]:
    """Where the nodes of each .onnx file in `folder` are, with each of SETTINGS: provider → how many, or the error."""
    from gantool.errors import GantoolError
    from gantool.runtime import Generator
    from gantool.runtime.session import placement

    found: dict[str, dict[str, Any]] = {}
    for path in sorted(folder.glob("*.onnx")):
        for how, settings in SETTINGS.items():
            try:
                held = placement(Generator(path, "cuda", settings=settings).session)
                told: Any = {name.removesuffix("ExecutionProvider"): len(nodes) for name, nodes in held.items()}
            except GantoolError as error:
                told = error.message
            found.setdefault(path.name, {})[how] = told
    return found


def counts() -> dict[str, int]:
    import ctypes

    runtime = ctypes.CDLL("libcudart.so.13")
    return {name: ctypes.c_long.in_dll(runtime, f"fake_{name}").value for name in COUNTED}


def requests(path: Path, how: str) -> list[dict[str, int]]:
    """What calls of 1, 3, 3, 3, 8, 8 and 8 samples do, one after the other: differences of `counts`."""
    from gantool.runtime import Generator

    generator = Generator(path, "cuda", settings=SETTINGS[how])
    done, before = [], counts()
    for number, size in enumerate((1, 3, 3, 3, 8, 8, 8)):
        generator.sample(size, seed=number)
        after = counts()
        done.append({name: after[name] - before[name] for name in COUNTED})
        before = after
    return done


def main() -> None:
    what, given, *rest = sys.argv[1:]
    made: Any = placed(Path(given)) if what == "placed" else requests(Path(given), *rest)
    print(json.dumps(made), flush=True)


if __name__ == "__main__":
    main()
