"""A mirror on the loopback interface that can be told to misbehave, and what it was asked for."""

from __future__ import annotations

import contextlib
import itertools
import re
import threading
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Mirror:
    """Serves `files`, by name. `plans[name]`: what to do with the next requests for it, one after the other; then, and
    without a plan, it answers as it should, ranges included.

    A plan is a status to answer with (404), a text to redirect to, or one of:
    - ("drop", N): declares all, sends N bytes of it, and hangs up;
    - ("stall", N): sends N bytes, then nothing until the mirror is closed;
    - ("trickle", N): sends a byte N times a second;
    - ("headers", N): sends a header N times a second, and never the last;
    - ("chunks", N): sends a byte of the length of a chunk N times a second;
    - ("length", N): sends all, and declares N bytes;
    - "whole": pays no heed to a range;
    - "shifted": answers a range with another one.
    """

    def __init__(self, files: dict[str, bytes]) -> None:
        self.files = dict(files)
        self.plans: dict[str, list[Any]] = defaultdict(list)
        self.requests: list[tuple[str, str | None]] = []
        self.closing = threading.Event()
        self.url = ""

    def ranges(self, name: str) -> list[str | None]:
        """The Range header of every request for `name`."""
        return [given for asked, given in self.requests if asked == name]


class _Handler(BaseHTTPRequestHandler):
    mirror: Mirror

    def do_GET(self) -> None:
        mirror, name, asked = self.mirror, self.path.rpartition("/")[2], self.headers.get("Range")
        mirror.requests.append((name, asked))
        plan = mirror.plans[name].pop(0) if mirror.plans[name] else None
        body = mirror.files.get(name)
        if body is None or isinstance(plan, int):
            self.send_error(plan or 404)
            return
        if isinstance(plan, str) and ":" in plan:
            self.send_response(302)
            self.send_header("Location", plan)
            self.end_headers()
            return
        kind, limit = plan if isinstance(plan, tuple) else (plan, len(body))
        if kind in ("headers", "chunks"):
            self.wfile.write(b"HTTP/1.1 200 OK\r\n")
            if kind == "chunks":
                self.wfile.write(b"Transfer-Encoding: chunked\r\n\r\n")
            self._trickle(b"a" if kind == "headers" else b"0", 1 / limit, endless=True)
            return
        start = int(re.fullmatch(r"bytes=(\d+)-", asked)[1]) if asked and kind != "whole" else 0  # type: ignore[index]
        if asked and start >= len(body):
            self.send_error(416)
            return
        start -= 1 if kind == "shifted" and start else 0
        self.send_response(206 if asked and kind != "whole" else 200)
        if asked and kind != "whole":
            self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        self.send_header("Content-Length", str(limit if kind == "length" else len(body) - start))
        self.end_headers()
        if kind == "trickle":
            self._trickle(body[start:], 1 / limit)
            return
        self.wfile.write(body[start:] if kind not in ("drop", "stall") else body[start : start + limit])
        self.wfile.flush()
        if kind == "stall":
            mirror.closing.wait()

    def _trickle(self, body: bytes, pause: float, endless: bool = False) -> None:
        with contextlib.suppress(ConnectionError):  # who asked has had enough
            for byte in itertools.cycle(body) if endless else body:
                self.wfile.write(bytes([byte]))
                if self.mirror.closing.wait(pause):
                    return

    def log_message(self, format: str, *arguments: object) -> None:
        pass


@contextmanager
def serving(files: dict[str, bytes]) -> Iterator[Mirror]:
    """A running mirror of `files`, at `.url`."""
    mirror = Mirror(files)
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"mirror": mirror}))
    mirror.url = f"http://127.0.0.1:{server.server_address[1]}/sets/"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield mirror
    finally:
        mirror.closing.set()
        server.shutdown()
        server.server_close()
        thread.join()
