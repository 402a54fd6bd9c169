"""Child processes that speak JSON: messages, native output, time limits, killing, Ctrl-C."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from gantool.errors import GantoolError
from gantool.system.subprocesses import JsonProcess, describe_exit, ignore_sigint, in_order

ECHO = """
import os
from gantool.system.subprocesses import json_input, json_output
send = json_output()
os.write(1, b'{"native": "library"}\\n')
print("printed")
for message in json_input():
    send({"got": message})
"""


def command(code: str) -> Sequence[str]:
    return [sys.executable, "-c", code]


def gone(pid: int) -> bool:
    """Whether a process has ended; one that nobody waits for stays as a zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except FileNotFoundError:
        return True


def test_messages_go_both_ways_and_native_output_goes_to_stderr() -> None:
    with JsonProcess(command(ECHO)) as child:
        for number in range(3):
            child.send({"number": number})
            assert child.receive(60) == {"got": {"number": number}}
    assert '{"native": "library"}' in _stderr_of(ECHO)


def _stderr_of(code: str) -> str:
    with JsonProcess(command(code)) as child:
        child.send({})
        child.receive(60)
        return child.stderr()


def test_the_end_of_a_process_is_told_with_its_stderr() -> None:
    code = "import sys; print('{\"a\": 1}'); print('no message'); print('[1]'); print('{\"half'); sys.exit('why')"
    with JsonProcess(command(code)) as child:
        assert list(child.messages(60)) == [{"a": 1}]
        assert child.receive(60) is None
        child.send({"too": "late"})
        assert child.ending() == "ended with exit code 1"
        assert child.stderr_tail() == " The end of its stderr:\nwhy"
        assert child.exit_code() == 1


def test_only_the_end_of_a_long_stderr_is_kept() -> None:
    with JsonProcess(command("import sys; sys.stderr.write('x\\n' * 10**5 + 'last')")) as child:
        assert child.receive(60) is None
        assert child.stderr_tail().endswith("x\nlast")
        assert len(child.stderr_tail()) < 100
        assert child.stderr(6) == "x\nlast"


def test_silence_is_a_timeout() -> None:
    with JsonProcess(command("import time; print('{}', flush=True); time.sleep(600)")) as child:
        assert child.receive(60) == {}
        with pytest.raises(TimeoutError):
            child.receive(0.05)
        with pytest.raises(TimeoutError):
            list(child.messages(0.05))
        assert child.exit_code(0.0) is None
        child.kill()
        assert child.ending() == "was killed by SIGKILL"
        assert child.stderr_tail() == " It printed nothing on stderr."


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="no /proc here")
@pytest.mark.parametrize("after", ["pass", "time.sleep(600)"])
def test_processes_that_the_child_started_are_killed_with_it(after: str) -> None:
    code = (
        "import json, subprocess, sys, time\n"
        "other = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'], stdout=2)\n"
        f"print(json.dumps({{'pid': other.pid}}), flush=True)\n{after}"
    )
    with JsonProcess(command(code)) as child:
        message = child.receive(60)
        assert message is not None
        assert not gone(message["pid"])
    deadline = time.monotonic() + 10
    while not gone(message["pid"]) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert gone(message["pid"])


def test_a_command_that_can_not_be_started() -> None:
    with pytest.raises(OSError, match="no-such-program"):
        JsonProcess(["/no-such-program"])


def test_exits_in_words() -> None:
    assert describe_exit(3) == "ended with exit code 3"
    assert describe_exit(-int(signal.SIGTERM)) == "was killed by SIGTERM"
    assert describe_exit(-99) == "was killed by signal 99"
    assert describe_exit(None) == "did not end"


def test_children_ignore_ctrl_c() -> None:
    code = "import signal; print(signal.getsignal(signal.SIGINT) is signal.SIG_IGN)"
    before = signal.getsignal(signal.SIGINT)
    with ignore_sigint():
        ignored = subprocess.run(command(code), capture_output=True, text=True, check=True).stdout
    assert ignored == "True\n"
    assert signal.getsignal(signal.SIGINT) is before


def test_a_helper_ends_with_its_parent(tmp_path: Path) -> None:
    (tmp_path / "pool.py").write_text(
        "import os, sys, time\n"
        "from multiprocessing import get_context\n"
        "from gantool.system.subprocesses import begin_as_helper\n"
        "def work(path):\n"
        "    begin_as_helper()\n"
        "    os.kill(os.getpid(), 2)\n"  # ignored
        "    open(path, 'w').write(str(os.getpid()))\n"
        "    time.sleep(600)\n"
        "if __name__ == '__main__':\n"
        "    process = get_context('spawn').Process(target=work, args=(sys.argv[1],))\n"
        "    process.start()\n"
        "    process.join()\n"
    )
    told = tmp_path / "pid"
    parent = subprocess.Popen([sys.executable, str(tmp_path / "pool.py"), str(told)])
    deadline = time.monotonic() + 60
    while not (told.exists() and told.read_text()) and time.monotonic() < deadline:
        time.sleep(0.01)
    parent.kill()
    parent.wait()
    helper = int(told.read_text())
    while _runs(helper) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not _runs(helper)


def _runs(pid: int) -> bool:
    if Path("/proc/self/stat").exists():
        return not gone(pid)
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def killed_while_it_answers(piece: int) -> bytes:
    """Half of the answer leaves the process, then it is killed, as when the memory runs out."""
    from multiprocessing.connection import Connection

    def send_half(pipe: Connection, data: bytes) -> None:
        os.write(pipe.fileno(), data[: len(data) // 2])
        os.kill(os.getpid(), signal.SIGKILL)

    if piece == 3:
        Connection._send = send_half  # type: ignore[attr-defined]
    return bytes(1000)


def test_a_worker_that_is_killed_in_the_middle_of_its_answer_is_an_error() -> None:
    with pytest.raises(GantoolError, match=r"One of 2 processes .* was ended from outside"):
        list(in_order(killed_while_it_answers, range(8), 0, 2))


def fails_at_two(piece: int) -> int:
    if piece == 2:
        raise OSError(f"piece {piece}")
    return -piece


def test_results_come_in_order_and_errors_of_the_work_are_its_own() -> None:
    found = in_order(fails_at_two, range(5), 0, 2)
    assert [next(found), next(found)] == [0, -1]
    with pytest.raises(OSError, match="piece 2"):
        next(found)
