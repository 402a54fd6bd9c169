"""One file from the first mirror that has it: resumed where it stopped, never longer than it has to be, verified.

The size and the SHA-256 of every file are known, so a mirror is believed in nothing else: neither its Content-Length,
nor that it goes on where it was asked to, nor its status 200 on an error page.
"""

from __future__ import annotations

import http.client
import io
import os
import re
import socket
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

from gantool import __version__
from gantool.data.known import RemoteFile
from gantool.errors import GantoolError, excerpt
from gantool.system.files import sha256_of

TIMEOUT = 30.0  # seconds without a byte
LEAST = 1024  # bytes a second, on average over as many seconds: a mirror that brings less is as good as silent
PAUSE = 1.0  # seconds before the second attempt in a row that brought nothing; twice as many before the third
FRUITLESS = 3  # attempts in a row that bring nothing, and a mirror is left
MOST = 200  # attempts at one mirror
_CHUNK = 256 * 1024
_RANGE = re.compile(r"bytes (\d+)-")
_TEMPORARY = {408, 425, 429, 500, 502, 503, 504}


class Progress(Protocol):
    """Who is told how a download goes."""

    def began(self, name: str, total: int) -> None: ...
    def reached(self, count: int) -> None: ...
    def noted(self, text: str) -> None: ...


class _SlowError(OSError):
    """A mirror that brings next to nothing."""


class _RefusedError(Exception):
    """A mirror that does not have the file; why."""


def check_mirror(url: str) -> None:
    """GantoolError unless `url` is one of http or https."""
    try:
        parts = urlsplit(url)
        sound = parts.scheme in ("http", "https") and bool(parts.hostname)
    except ValueError:
        sound = False
    if not sound:
        raise GantoolError(
            f"{excerpt(url)!r} is no address of a mirror.", "Give one that starts with https:// (or http://)."
        )


def download(file: RemoteFile, mirrors: Iterable[str], folder: Path, progress: Progress) -> Path:
    """`file` in `folder`, whole and with the right SHA-256; taken from there when it is there already.

    What was loaded before an interruption waits in `NAME.part` and is continued, from any mirror. GantoolError, which
    says what was wrong with each mirror, when none has it; then nothing wrong is left in `folder`.
    """
    final, part = folder / file.name, folder / f"{file.name}.part"
    _on_disk(folder.mkdir, folder, parents=True, exist_ok=True)
    if final.is_file():
        if sha256_of(final) == file.sha256:
            return final
        final.unlink()
    progress.began(file.name, file.size)
    refused = []
    for mirror in mirrors:
        url = f"{mirror.rstrip('/')}/{file.name}"
        try:
            _verified(url, file, part, progress)
        except _RefusedError as error:
            refused.append(f"{mirror}: {error}")
            progress.noted(refused[-1])
            continue
        _on_disk(part.replace, part, final)
        return final
    raise GantoolError(
        f"{file.name} could not be downloaded. {'; '.join(refused)}.",
        "Try again later (what was loaded is kept), or name a mirror that has it: --mirror URL.",
    )


def _verified(url: str, file: RemoteFile, part: Path, progress: Progress) -> None:
    """Complete `part` from `url`; _RefusedError when what it serves is another file, and then `part` is gone."""
    inherited = _size(part) > 0
    while True:
        _complete(url, file, part, progress)
        found = sha256_of(part)
        if found == file.sha256:
            return
        part.unlink()
        if not inherited:
            raise _RefusedError(f"its {file.name} has the wrong SHA-256 {found}, expected {file.sha256}")
        inherited = False  # the beginning came from elsewhere, so this mirror is not to blame yet: all from it
        progress.noted(f"what was there of {file.name} was wrong; from the start")


def _complete(url: str, file: RemoteFile, part: Path, progress: Progress) -> None:
    """Load until `part` has all bytes of `file`, in as many attempts as bring something."""
    if _size(part) > file.size:
        part.unlink()
    most, fruitless, problem = _size(part), 0, ""
    for _ in range(MOST):
        if fruitless >= FRUITLESS:
            break
        time.sleep(PAUSE * fruitless)
        slow = False
        try:
            problem = _attempt(url, file, part, progress)
        except (urllib.error.URLError, http.client.HTTPException, OSError) as error:
            problem, slow = _told(error), isinstance(error, _SlowError)
        have = _size(part)
        if have == file.size:
            return
        fruitless = 0 if have > most and not slow else fruitless + 1
        most = max(most, have)
    raise _RefusedError(f"{problem}; {most:,} of {file.size:,} bytes came")


def _attempt(url: str, file: RemoteFile, part: Path, progress: Progress) -> str:
    """One request, from where `part` ends; what to say if that was not all."""
    have = _size(part)
    request = urllib.request.Request(url, headers={"User-Agent": f"gantool/{__version__}"})
    if have:
        request.add_header("Range", f"bytes={have}-")
    try:
        with _opener().open(request, timeout=TIMEOUT) as response:
            if response.status == 206:
                span = _RANGE.match(response.headers.get("Content-Range", ""))
                if not span or int(span[1]) != have:
                    part.unlink()  # its next answer has to be the whole
                    return "it sent another range than it was asked for"
            with _on_disk(part.open, part, "ab" if response.status == 206 else "wb", buffering=0) as stream:
                _copy(response, stream, file.size, part, progress)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == 416 and have:
            part.unlink()  # its file ends before ours does: one of the two is not the file
            return f"its file has no more than {have:,} bytes"
        if error.code not in _TEMPORARY:
            raise _RefusedError(_told(error)) from error
        raise
    return "the connection ended early"


def _copy(response: http.client.HTTPResponse, stream: io.FileIO, limit: int, part: Path, progress: Progress) -> None:
    """Copy until the response ends, or `stream` has `limit` bytes: what a mirror sends beyond is not read.

    `stream` has no buffer, so that the disk's errors come from its `write`, and what came is there when it breaks off.
    """
    have = stream.tell()
    progress.reached(have)
    began, then = time.monotonic(), have
    while have < limit and (piece := response.read1(min(_CHUNK, limit - have))):
        while piece:
            count = _on_disk(stream.write, part, piece)
            have, piece = have + count, piece[count:]
        progress.reached(have)
        if have < limit and (passed := time.monotonic() - began) >= TIMEOUT:
            if have - then < LEAST * passed:
                raise _SlowError(f"it sent only {have - then:,} bytes in {passed:.1f} s")
            began, then = time.monotonic(), have
    if have == limit:
        _on_disk(os.fsync, part, stream.fileno())


class _Redirects(urllib.request.HTTPRedirectHandler):
    """urllib follows redirects to ftp, too."""

    def redirect_request(
        self, req: urllib.request.Request, fp: Any, code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        if urlsplit(newurl).scheme not in ("http", "https"):
            raise _RefusedError(f"it redirects to {excerpt(newurl)}, which is neither http nor https")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _opener() -> urllib.request.OpenerDirector:
    return urllib.request.build_opener(_Redirects)


def _told(error: Exception) -> str:
    reason = error.reason if isinstance(error, urllib.error.URLError) else error
    if isinstance(error, urllib.error.HTTPError):
        return f"it answers {error.code} {excerpt(str(error.reason))}".rstrip()
    if isinstance(reason, TimeoutError):
        return f"it sent nothing for {TIMEOUT:g} s"
    if isinstance(reason, socket.gaierror | ssl.SSLError):
        raise _RefusedError(excerpt(str(reason))) from error
    return excerpt(str(reason) or type(reason).__name__)


def _size(part: Path) -> int:
    try:
        return part.stat().st_size
    except FileNotFoundError:
        return 0


def _on_disk(function: Any, path: Path, *arguments: Any, **named: Any) -> Any:
    """Call what touches the disk: its OSError is not the network's, and no other mirror helps."""
    try:
        return function(*arguments, **named)
    except OSError as error:
        raise GantoolError(
            f"{path} can't be written: {error.strerror or error}.",
            "Free space, or name another folder: --cache DIR (GANTOOL_CACHE=DIR for every command).",
        ) from error
