"""Download one file from the first mirror that has it: resumed, bounded, verified.

The size and the SHA-256 of every file are known, so nothing else that a mirror sends is trusted: no Content-Length, no
range that it answers with, no status of 200 on an error page. No library does this: pooch, the usual one, neither
resumes a partial download nor tries a second mirror.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import re
import shutil
import socket
import subprocess
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, NoReturn
from urllib.parse import urlsplit

from gantool import __version__
from gantool.data.catalog import RemoteFile
from gantool.errors import GantoolError, excerpt
from gantool.system.files import sha256_of, writing

if TYPE_CHECKING:
    from gantool.system.terminal import Progress

TIMEOUT = 30.0  # seconds without a byte
PATIENCE = 2 * TIMEOUT  # seconds from a request to the end of the answer's headers, and between two looks at the rate
MIN_RATE = 1024  # bytes a second, averaged over TIMEOUT seconds: a slower attempt counts as fruitless
PAUSE = 1.0  # seconds before the second fruitless attempt in a row; twice as many before the third
MAX_FRUITLESS = 3  # attempts in a row that bring nothing, before the next mirror is tried
MAX_ATTEMPTS = 200  # at one mirror
_CHUNK = 256 * 1024
_RANGE = re.compile(r"bytes (\d+)-")
OTHER_CACHE = "Free space, or name another folder: --cache DIR (GANTOOL_CACHE=DIR for every command)."
_TEMPORARY = {408, 425, 429, 500, 502, 503, 504}  # HTTP statuses worth another attempt


class _SlowError(OSError):
    """The mirror sends less than MIN_RATE."""


class _Watch(urllib.request.HTTPSHandler, urllib.request.HTTPHandler):
    """Cuts the connections of an opener when `rearm` was not called for PATIENCE seconds.

    A timeout of a socket begins anew with each byte, so a server may send a byte of its headers now and then for ever.
    """

    def __init__(self) -> None:
        urllib.request.HTTPSHandler.__init__(self)
        self.expired = False
        self._sockets: list[socket.socket] = []
        self._timer = threading.Timer(0, self._cut)

    def __enter__(self) -> _Watch:
        self.rearm()
        return self

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()
        for made in self._sockets:
            made.close()

    def rearm(self) -> None:
        self._timer.cancel()
        self._timer = threading.Timer(PATIENCE, self._cut)
        self._timer.daemon = True
        self._timer.start()

    def _cut(self) -> None:
        self.expired = True
        for made in self._sockets:
            with contextlib.suppress(OSError):  # it is closed already
                made.shutdown(socket.SHUT_RDWR)

    def http_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(self._watched(http.client.HTTPConnection), req)

    def https_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(self._watched(http.client.HTTPSConnection), req)

    def _watched(self, kind: Any) -> Any:
        def connection(*given: Any, **options: Any) -> http.client.HTTPConnection:
            made: Any = kind(*given, **options)
            made._create_connection = self._connect
            return made  # type: ignore[no-any-return]

        return connection

    def _connect(self, *given: Any) -> socket.socket:
        if self.expired:  # on the way to another redirection
            raise TimeoutError
        made = socket.create_connection(*given)
        self._sockets.append(made.dup())  # TLS takes the first away
        return made


class _RefusedError(Exception):
    """The mirror does not have the file; the reason."""


def check_mirror(url: str) -> None:
    """GantoolError unless `url` is one of http or https."""
    try:
        parts = urlsplit(url)
        valid = parts.scheme in ("http", "https") and bool(parts.hostname)
    except ValueError:
        valid = False
    if not valid:
        raise GantoolError(
            f"{excerpt(url)!r} is no address of a mirror.", "Give one that starts with https:// (or http://)."
        )


def download(file: RemoteFile, mirrors: Sequence[str], folder: Path, progress: Progress) -> Path:
    """`file` in `folder`, with the right SHA-256; taken from there when it is there already. Without mirrors, by npm.

    An interrupted download stays in `NAME.part` and is continued, from any mirror. GantoolError, with what was wrong
    with each mirror, when none has it; then no wrong file is left in `folder`.
    """
    final, part = folder / file.name, folder / f"{file.name}.part"
    with writing(folder, OTHER_CACHE):
        folder.mkdir(parents=True, exist_ok=True)
    if final.is_file():
        if sha256_of(final) == file.sha256:
            return final
        final.unlink()
    if not mirrors:
        return _download_by_npm(file, final, progress)
    progress.note(f"downloading {file.name}, {file.size / 1e6:.1f} MB")
    progress.start(file.name, file.size)
    refused = []
    for mirror in mirrors:
        try:
            _complete(f"{mirror.rstrip('/')}/{file.name}", file, part, progress)
        except _RefusedError as error:
            refused.append(f"{mirror}: {error}")
            progress.note(refused[-1])
            continue
        with writing(final, OTHER_CACHE):
            part.replace(final)
        return final
    raise GantoolError(
        f"{file.name} could not be downloaded. {'; '.join(refused)}.",
        "Try again later (what was loaded is kept), or name a mirror that has it: --mirror URL.",
    )


def _download_by_npm(file: RemoteFile, final: Path, progress: Progress) -> Path:
    """`file.package` as the file `final`, with the right SHA-256; npm downloads it, from its registry.

    GantoolError when npm is missing or fails, or when what it brings is another file.
    """
    npm = shutil.which("npm")
    elsewhere = f"Or name a mirror that has {file.name}: --mirror URL."
    if npm is None:
        raise GantoolError(
            f"{file.package} is downloaded by npm, which is not installed.", f"Install Node.js. {elsewhere}"
        )
    progress.note(f"downloading {file.package} by npm, {file.size / 1e6:.1f} MB")
    with writing(final.parent, OTHER_CACHE):
        aside = Path(tempfile.mkdtemp(dir=final.parent))
    try:
        command = [npm, "pack", "-s", file.package]
        ended = subprocess.run(command, cwd=aside, stdin=subprocess.DEVNULL, capture_output=True, text=True)
        made = list(aside.glob("*.tgz"))
        if ended.returncode or len(made) != 1:
            reason = excerpt(ended.stderr.strip()) or f"exit status {ended.returncode}"
            raise GantoolError(
                f"npm could not download {file.package}: {reason}.",
                f"Try again later, or see: npm pack {file.package}. {elsewhere}",
            )
        if (found := sha256_of(made[0])) != file.sha256:
            raise GantoolError(
                f"npm's {file.package} has the wrong SHA-256 {found}, expected {file.sha256}.",
                f"See which registry npm uses: npm config get registry. {elsewhere}",
            )
        with writing(final, OTHER_CACHE):
            made[0].replace(final)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return final


def _complete(url: str, file: RemoteFile, part: Path, progress: Progress) -> None:
    """Request the rest of `part` until it is whole and verified. _RefusedError when `url` does not serve `file`."""
    resumed = _size(part) > 0  # its beginning may be of another mirror
    most, fruitless, problem = _size(part), 0, ""
    for _ in range(MAX_ATTEMPTS):
        slow = False
        if _size(part) < file.size:
            time.sleep(PAUSE * fruitless)
            try:
                problem = _attempt(url, file, part, progress)
            except (urllib.error.URLError, http.client.HTTPException, OSError) as error:
                problem, slow = _reason(error), isinstance(error, _SlowError)
        if (have := _size(part)) >= file.size:
            found = sha256_of(part)
            if found == file.sha256:
                return
            part.unlink()
            if not resumed:
                raise _RefusedError(f"its {file.name} has the wrong SHA-256 {found}, expected {file.sha256}")
            progress.note(f"what was there of {file.name} was wrong; from the start")
            resumed, most, fruitless = False, 0, 0
            continue
        fruitless = 0 if have > most and not slow else fruitless + 1
        most = max(most, have)
        if fruitless == MAX_FRUITLESS:
            break
    raise _RefusedError(f"{problem}; {most:,} of {file.size:,} bytes came")


def _attempt(url: str, file: RemoteFile, part: Path, progress: Progress) -> str:
    """One request, from the end of `part` on; why it may not have brought everything."""
    have = _size(part)
    request = urllib.request.Request(url, headers={"User-Agent": f"gantool/{__version__}"})
    if have:
        request.add_header("Range", f"bytes={have}-")
    watch = _Watch()
    try:
        with watch, urllib.request.build_opener(_NoFtp, watch).open(request, timeout=TIMEOUT) as response:
            resumes = response.status == 206
            if resumes:
                span = _RANGE.match(response.headers.get("Content-Range", ""))
                if not span or int(span[1]) != have:
                    part.unlink()  # so that the next request is for the whole file
                    return "it sent another range than it was asked for"
            with writing(part, OTHER_CACHE):  # an error of the disk, not of the mirror: no other one is tried
                stream = part.open("ab" if resumes else "wb", buffering=0)
            with stream:
                _copy(response, stream, file.size, part, progress, watch)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == 416 and have:
            part.unlink()  # its file ends before ours: either may be the wrong one
            return f"its file has no more than {have:,} bytes"
        if error.code not in _TEMPORARY:
            raise _RefusedError(_reason(error)) from error
        raise
    except (http.client.HTTPException, OSError):
        if not watch.expired:
            raise
    if watch.expired:
        raise _SlowError(f"it sent too little for {PATIENCE:g} s")
    return "the connection ended early"


def _copy(
    response: http.client.HTTPResponse, stream: BinaryIO, limit: int, part: Path, progress: Progress, watch: _Watch
) -> None:
    """Copy until the response ends, or `stream`, which is unbuffered, has `limit` bytes."""
    watch.rearm()
    have = stream.tell()
    progress.update(have)
    began, before = time.monotonic(), have
    while have < limit and (piece := response.read1(min(_CHUNK, limit - have))):
        while piece:
            with writing(part, OTHER_CACHE):
                count = stream.write(piece)
            have, piece = have + count, piece[count:]
        progress.update(have)
        if have < limit and (passed := time.monotonic() - began) >= TIMEOUT:
            if have - before < MIN_RATE * passed:
                raise _SlowError(f"it sent only {have - before:,} bytes in {passed:.1f} s")
            began, before = time.monotonic(), have
            watch.rearm()
    if have == limit:
        with writing(part, OTHER_CACHE):
            os.fsync(stream.fileno())


class _NoFtp(urllib.request.FTPHandler):
    """Refuses what urllib follows redirects to, besides http and https."""

    def ftp_open(self, req: urllib.request.Request) -> NoReturn:
        raise _RefusedError(f"it redirects to {excerpt(req.full_url)}, which is not allowed")


def _reason(error: Exception) -> str:
    reason = error.reason if isinstance(error, urllib.error.URLError) else error
    if isinstance(error, urllib.error.HTTPError):
        return f"it answers {error.code} {excerpt(str(error.reason))}".rstrip()
    if isinstance(reason, TimeoutError):
        return f"it sent nothing for {TIMEOUT:g} s"
    return excerpt(str(reason) or type(reason).__name__)


def _size(part: Path) -> int:
    return part.stat().st_size if part.exists() else 0
