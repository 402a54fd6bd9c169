"""A measured process: started, spoken with in lines of JSON, and its last words."""

from __future__ import annotations

import json
import os
import queue
import subprocess
import tempfile
import threading
from collections.abc import Sequence
from typing import IO, Any

TAIL_LINES, TAIL_BYTES = 12, 4000


class Child:
    """A context manager; it ends with the process."""

    def __init__(self, command: Sequence[str], talks: bool = False) -> None:
        """`talks`: whether it reads what is sent."""
        self._errors: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 (closed by __exit__)
        self._process = subprocess.Popen(
            list(command),
            stdin=subprocess.PIPE if talks else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=self._errors,
        )
        self._lines: queue.Queue[bytes | None] = queue.Queue()
        assert self._process.stdout is not None
        threading.Thread(target=_forward, args=(self._process.stdout, self._lines), daemon=True).start()

    def __enter__(self) -> Child:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        self._errors.close()

    def send(self, message: dict[str, Any]) -> None:
        """A process that has ended hears nothing; `receive` tells."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write((json.dumps(message) + "\n").encode())
            self._process.stdin.flush()
        except BrokenPipeError:
            pass

    def receive(self, timeout: float) -> dict[str, Any] | None:
        """Its next message, or None when it ended, perhaps in the middle of one; TimeoutError after `timeout` s."""
        try:
            line = self._lines.get(timeout=timeout)
        except queue.Empty as error:
            raise TimeoutError from error
        if line is None:
            return None
        try:
            message: dict[str, Any] = json.loads(line)
        except ValueError:
            return None
        return message

    def wait(self, timeout: float) -> int:
        """Its exit code, negative: of a signal; TimeoutError when it goes on."""
        try:
            return self._process.wait(timeout)
        except subprocess.TimeoutExpired as error:
            raise TimeoutError from error

    def stop(self) -> None:
        """Whatever it still does (it has reported, failed or hung) is of no use."""
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()

    def last_words(self) -> str:
        """The end of its stderr, on lines of its own."""
        size = self._errors.seek(0, os.SEEK_END)
        self._errors.seek(max(0, size - TAIL_BYTES))
        lines = self._errors.read().decode(errors="replace").strip().splitlines()[-TAIL_LINES:]
        return " Its last words:\n" + "\n".join(lines) if lines else " It said nothing."


def ended(code: int) -> str:
    return f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code} before its report"


def _forward(pipe: IO[bytes], lines: queue.Queue[bytes | None]) -> None:
    with pipe:
        for line in pipe:
            lines.put(line)
    lines.put(None)
