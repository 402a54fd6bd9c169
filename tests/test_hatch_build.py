"""hatch_build.py: what app kits carry is fetched, checked and unpacked; or the build goes on without it."""

from __future__ import annotations

import base64
import hashlib
import http.server
import io
import os
import subprocess
import sys
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
from support.scripts import script

ROOT = Path(__file__).parent.parent
NOBODY = "http://127.0.0.1:9/"  # the port where nothing answers


def package(**files: bytes) -> bytes:
    """An npm tarball with dist/ files."""
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w:gz") as tar:
        for name, content in files.items():
            entry = tarfile.TarInfo(f"package/dist/{name}")
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    return made.getvalue()


@pytest.fixture
def hook(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The module, with a folder of its own to fill, and nothing behind its registry."""
    module = script("hatch_build.py")
    monkeypatch.setattr(module, "FOLDER", tmp_path / "assets")
    monkeypatch.setattr(module, "REGISTRY", NOBODY)
    return module


@pytest.fixture
def registry(hook: ModuleType, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[bytes]]:
    """A registry on loopback; what is put in the list is what it serves, and its integrity is the pinned one."""
    served: list[bytes] = [package(**{name: name.encode() * 9 for name in hook.FILES})]
    monkeypatch.setattr(hook, "INTEGRITY", base64.b64encode(hashlib.sha512(served[0]).digest()).decode())

    class Registry(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found = self.path == f"/{hook.PACKAGE}/-/{hook.PACKAGE}-{hook.VERSION}.tgz"
            self.send_response(200 if found else 404)
            self.send_header("Content-Length", str(len(served[0]) if found else 0))
            self.end_headers()
            if found:
                self.wfile.write(served[0])

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Registry) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setattr(hook, "REGISTRY", f"http://127.0.0.1:{server.server_port}")
        yield served
        server.shutdown()


def test_it_is_fetched_once(hook: ModuleType, registry: list[bytes]) -> None:
    assert hook.install() is True
    names = {path.name for path in hook.FOLDER.iterdir()}
    assert names == {*hook.FILES, "LICENSE", hook.RECORD}
    assert (hook.FOLDER / hook.FILES[0]).read_bytes() == hook.FILES[0].encode() * 9
    registry[0] = b""
    assert hook.install() is False


def test_a_damaged_file_is_fetched_anew(hook: ModuleType, registry: list[bytes]) -> None:
    hook.install()
    (hook.FOLDER / hook.FILES[1]).write_bytes(b"cut")
    assert hook.install() is True
    assert (hook.FOLDER / hook.FILES[1]).read_bytes() == hook.FILES[1].encode() * 9


def test_another_package_than_the_pinned_one(hook: ModuleType, registry: list[bytes]) -> None:
    registry[0] = package(**dict.fromkeys(hook.FILES, b"evil"))
    with pytest.raises(ValueError, match="not the pinned sha512-"):
        hook.install()
    assert not hook.FOLDER.exists()


def test_a_build_without_the_network_goes_on(hook: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    hook.CustomBuildHook.initialize(None, "standard", {})
    assert "onnxruntime-web is left out" in capsys.readouterr().err
    assert not hook.FOLDER.exists()


def test_by_hand_it_says_what_to_type(tmp_path: Path) -> None:
    script = tmp_path / "hatch_build.py"
    script.write_bytes((ROOT / "hatch_build.py").read_bytes())
    environment = {**os.environ, "npm_config_registry": NOBODY}
    done = subprocess.run([sys.executable, script], env=environment, capture_output=True, text=True)
    assert done.returncode == 1
    assert "make assets" in done.stderr
    assert "Traceback" not in done.stderr
