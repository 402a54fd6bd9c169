"""Puts onnxruntime-web, which the app kit carries, into the package: at the build of a wheel, or by `make assets`.

It is pinned by version and integrity, and never committed. Without the network the build goes on without it, and
`gantool export --app` says what is missing. Standard library only: it runs before anything is installed.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import io
import json
import os
import sys
import tarfile
import urllib.request
from pathlib import Path
from typing import Any

with contextlib.suppress(ImportError):  # `make assets` needs no hatchling
    from hatchling.builders.hooks.plugin.interface import BuildHookInterface

if "BuildHookInterface" not in globals():
    BuildHookInterface = object

PACKAGE, VERSION = "onnxruntime-web", "1.30.0"
INTEGRITY = "q0y+JrrtukXSzsBWEMccVfqX25LRmosXHF+CaRJmg8pZClzcV7svNc4rKY3jL02Vb7QmRMDs1SigqR4CXAfKYQ=="  # SHA-512
REGISTRY = os.environ.get("npm_config_registry") or "https://registry.npmjs.org/"  # noqa: SIM112  npm's own name
FILES = ("ort.wasm.bundle.min.mjs", "ort-wasm-simd-threaded.wasm")
MAX_BYTES = 100 * 2**20
FOLDER = Path(__file__).parent / "gantool" / "exporting" / "app" / "assets"
RECORD = "onnxruntime-web.json"  # the version, and the SHA-256 of each file

LICENCE = """MIT License

Copyright (c) Microsoft Corporation

Permission is hereby granted, free of charge, to any person obtaining a copy
of this software and associated documentation files (the "Software"), to deal
in the Software without restriction, including without limitation the rights
to use, copy, modify, merge, publish, distribute, sublicense, and/or sell
copies of the Software, and to permit persons to whom the Software is
furnished to do so, subject to the following conditions:

The above copyright notice and this permission notice shall be included in all
copies or substantial portions of the Software.

THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR
IMPLIED, INCLUDING BUT NOT LIMITED TO THE WARRANTIES OF MERCHANTABILITY,
FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE
AUTHORS OR COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER
LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR OTHERWISE, ARISING FROM,
OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE
SOFTWARE.
"""


class CustomBuildHook(BuildHookInterface):  # type: ignore[misc,valid-type]
    """hatchling's door: wheels and editable installs."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        try:
            install()
        except (OSError, ValueError) as error:
            print(f"onnxruntime-web is left out: {error}", file=sys.stderr)


def install() -> bool:
    """Fetch what FOLDER lacks. False: all was there. OSError: no network; ValueError: not the pinned package."""
    if complete():
        return False
    url = f"{REGISTRY.rstrip('/')}/{PACKAGE}/-/{PACKAGE}-{VERSION}.tgz"
    with urllib.request.urlopen(url, timeout=60) as response:
        archive = response.read(MAX_BYTES + 1)
    found = base64.b64encode(hashlib.sha512(archive).digest()).decode()
    if found != INTEGRITY:
        raise ValueError(f"{url} has the integrity sha512-{found}, not the pinned sha512-{INTEGRITY}")
    contents = {"LICENSE": LICENCE.encode()}
    with tarfile.open(fileobj=io.BytesIO(archive), mode="r:gz") as tar:
        for name in FILES:
            member = tar.extractfile(f"package/dist/{name}")
            if member is None:
                raise ValueError(f"{url} holds no dist/{name}")
            contents[name] = member.read()
    FOLDER.mkdir(parents=True, exist_ok=True)
    record = {
        "package": PACKAGE,
        "version": VERSION,
        "integrity": f"sha512-{INTEGRITY}",
        "files": {name: hashlib.sha256(data).hexdigest() for name, data in contents.items()},
    }
    contents[RECORD] = (json.dumps(record, indent=2) + "\n").encode()
    for name, data in contents.items():  # the record last: it says that all is there
        aside = FOLDER / f".{name}"
        aside.write_bytes(data)
        aside.replace(FOLDER / name)
    return True


def complete() -> bool:
    """Whether FOLDER has the pinned version, byte for byte as it was unpacked."""
    try:
        record = json.loads((FOLDER / RECORD).read_text(encoding="utf-8"))
        digests = {name: hashlib.sha256((FOLDER / name).read_bytes()).hexdigest() for name in (*FILES, "LICENSE")}
    except (OSError, ValueError):
        return False
    return record.get("integrity") == f"sha512-{INTEGRITY}" and record.get("files") == digests


if __name__ == "__main__":
    try:
        done = install()
    except (OSError, ValueError) as error:
        sys.exit(
            f"{PACKAGE} {VERSION} can't be had: {error}\n"
            f"`gantool export --app` needs it; everything else works. Try again with the network: make assets"
        )
    print(f"{PACKAGE} {VERSION}: {'fetched' if done else 'is there'}, {FOLDER}")
