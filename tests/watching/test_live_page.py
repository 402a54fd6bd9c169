"""`gantool watch`: what its server gives, and to whom; Stop and Resume."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient
from support import hosts

import gantool
from gantool.errors import GantoolError
from gantool.run import rundir
from gantool.run.rundir import RunDir
from gantool.watching import control, server
from gantool.watching.snapshot import Look

TOKEN = "t" * 32
PIXELS = """() => {
  const canvas = document.querySelector("#plane");
  return [...new Uint32Array(canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data.buffer)];
}"""
HOLD = """
import sys, time
from pathlib import Path
from gantool.system import locking
lock = locking.acquire(Path(sys.argv[1]))
try:
    print("held", flush=True)
    time.sleep(60)
except KeyboardInterrupt:
    print("interrupted", flush=True)
"""


@pytest.fixture
def run(exported_run: RunDir, tmp_path: Path) -> RunDir:
    """A copy of runs/0001-tiny without its weights."""
    path = tmp_path / "runs" / exported_run.name
    (path / "samples").mkdir(parents=True)
    for name in ("run.json", "metrics.jsonl", "samples/step-00000002.png"):
        (path / name).write_bytes((exported_run.path / name).read_bytes())
    return RunDir(path)


@pytest.fixture
def client(run: RunDir) -> TestClient:
    return TestClient(server.app(run, TOKEN), base_url="http://127.0.0.1:8000")


@contextmanager
def holding(run: RunDir) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the run's lock."""
    with subprocess.Popen([sys.executable, "-c", HOLD, run.lock], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stdout.readline() == "held\n"
        try:
            yield process
        finally:
            process.kill()


def test_the_page_and_its_files_allow_no_foreign_code(client: TestClient) -> None:
    page = client.get("/")
    assert "<script>" not in page.text
    assert "style=" not in page.text
    for path in ["/", *(f"/{name}" for name in re.findall(r'(?:src|href)="([\w.]+)"', page.text))]:
        answer = client.get(path)
        assert answer.status_code == 200, path
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert "http" not in re.sub(r"http://www.w3.org/2000/svg", "", answer.text), path


def test_a_host_with_a_path_calls_nothing_else(client: TestClient) -> None:
    """Starlette makes request.url with that header, where it does not refuse it."""
    answer = client.post("/stop", headers={"host": "127.0.0.1:80/shown?", server.TOKEN: TOKEN})
    assert answer.status_code in (400, 409)


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example:8000", ""])
def test_another_host_is_refused(client: TestClient, host: str) -> None:
    assert client.get("/", headers={"host": host}).status_code == 400
    assert client.post("/stop", headers={"host": host, server.TOKEN: TOKEN}).status_code == 400


def test_only_samples_are_served(client: TestClient, run: RunDir) -> None:
    good = client.get("/samples/step-00000002.png")
    assert (good.status_code, good.headers["content-type"]) == (200, "image/png")
    assert good.content == run.sample(2).read_bytes()
    run.sample(3).symlink_to(run.path / "run.json")
    for name in (
        "step-00000003.png", "step-00000009.png", "..%2Frun.json", "%2e%2e/run.json", "run.json",
    ):  # fmt: skip
        assert client.get(f"/samples/{name}").status_code == 404, name


@pytest.mark.parametrize("token", ["", "x" * 32, TOKEN[:-1], "é"])
def test_orders_need_the_token(client: TestClient, run: RunDir, token: str) -> None:
    with holding(run) as process:
        assert client.post("/stop", headers={server.TOKEN: token.encode()}).status_code == 403
        assert client.get("/stop").status_code == 405
        assert process.poll() is None


def test_events_show_what_the_run_has(run: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    alarm = {"event": "alarm", "step": 2, "alarm": "collapse", "text": "<b>mode\x1b collapse</b>"}
    damaged = '{"step": 3, "loss.generator.adversarial": NaN, "loss.x": "text"}\n{"step": 4, "lo'
    with run.metrics.open("a") as file:
        file.write(f"{json.dumps(alarm)}\n{damaged}")
    monkeypatch.setattr(server, "EVERY", 0)
    turns = iter([False, False, True])
    with TestClient(server.app(run, TOKEN, lambda: next(turns)), base_url="http://127.0.0.1") as client:
        lines = client.get("/events").text.strip().splitlines()
    assert len(lines) == 1  # the second look found nothing new
    shown = json.loads(lines[0].removeprefix("data: "), parse_constant=pytest.fail)
    assert (shown["name"], shown["step"], shown["holder"]) == ("0001-tiny", 2, "")
    assert shown["samples"] == [{"step": 2, "files": ["png"]}]
    assert shown["alarms"] == [{"step": 2, "text": "<b>mode\\x1b collapse</b>"}]
    (adversarial,) = (line for line in shown["curves"][0]["lines"] if line["name"] == "generator.adversarial")
    assert adversarial["steps"] == [2]


def test_a_look_sees_who_trains_and_leaves_a_free_lock_alone(run: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    look = Look(run)
    assert look.now()["holder"] == ""
    with holding(run) as process:
        assert look.now()["holder"].startswith(f"pid {process.pid} on ")
    process.wait()
    assert look.now()["holder"] == ""
    monkeypatch.setattr(RunDir, "holder", lambda self: pytest.fail("the lock was taken"))
    assert look.now()["holder"] == ""


@pytest.mark.skipif(sys.platform != "linux", reason="others can't tell who holds a lock")
def test_stop_interrupts_the_holder_once(client: TestClient, run: RunDir) -> None:
    assert client.post("/stop", headers={server.TOKEN: TOKEN}).json() == {"error": "Nothing trains this run now."}
    with holding(run) as process:
        for _ in range(2):
            assert client.post("/stop", headers={server.TOKEN: TOKEN}).status_code in (202, 409)
        assert process.communicate(timeout=20)[0] == "interrupted\n"


@pytest.mark.skipif(sys.platform != "linux", reason="others can't tell who holds a lock")
def test_stop_spares_who_does_not_hold_the_lock(run: RunDir) -> None:
    """Whatever a lock file says: its text may be anybody's."""
    import socket

    with holding(run) as holder, subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as other:
        for text, said in (
            (f"pid {other.pid} on {socket.gethostname()}", "does not hold the run's lock"),
            (f"pid {holder.pid} on elsewhere", "not here"),
            ("pid 4194999 on " + socket.gethostname(), "can't be stopped: No such process"),
            ("\x1b[2J", "not here"),
        ):
            run.lock.write_text(text)
            with pytest.raises(GantoolError, match=said) as caught:
                control.stop(run)
            assert "\x1b" not in str(caught.value)
        assert holder.poll() is other.poll() is None
        other.kill()


def test_a_failed_resume_says_why(client: TestClient, run: RunDir) -> None:
    """It has no checkpoint."""
    resumed = control.Resumed(run)
    while resumed.runs:
        time.sleep(0.1)
    assert "ended with exit code 1" in resumed.failure()
    assert "has no checkpoint" in resumed.failure()


def test_resume_refuses_what_is_trained_or_no_architecture(client: TestClient, run: RunDir) -> None:
    with holding(run):
        assert "is being trained" in client.post("/resume", headers={server.TOKEN: TOKEN}).json()["error"]
    info = run.read()
    info.architecture = "--help"
    run.write(info)
    assert client.post("/resume", headers={server.TOKEN: TOKEN}).status_code == 409


def test_the_newest_run_may_be_one_without_a_checkpoint(run: RunDir, cli: Any) -> None:
    runs = run.path.parent
    younger = rundir.create(runs, "younger")
    assert rundir.latest(runs).name == run.name  # nothing is written yet
    (younger.path / "run.json").write_bytes((run.path / "run.json").read_bytes())
    os.utime(run.path / "run.json", ns=(0, 0))
    assert rundir.latest(runs).name == younger.name
    code, _, error = cli("watch", "--runs", runs / "none")
    assert code == 1
    assert "There is no run in" in error


@contextmanager
def served(run: RunDir) -> Iterator[str]:
    """The address that `gantool watch` prints."""
    command = [sys.executable, "-m", "gantool", "watch", str(run.path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        try:
            yield process.stdout.readline().strip()
            process.send_signal(signal.SIGINT)
            assert process.wait(20) == 0
        finally:
            process.kill()


def test_the_command_serves_on_loopback_until_ctrl_c(run: RunDir) -> None:
    with served(run) as address:
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+/#[\w-]{32}", address)
        opened = urllib.request.urlopen(address.partition("#")[0] + "events", timeout=20)
        assert json.loads(opened.readline()[6:])["name"] == "0001-tiny"  # left open: it must not hold up the end
        with pytest.raises(GantoolError, match="can't be used"):
            gantool.watch(run.path, port=int(address.split(":")[2].partition("/")[0]))


@pytest.mark.slow
def test_a_person_stops_and_resumes_a_training(tmp_path: Path) -> None:
    """In Chromium."""
    options = ["--widths=8", "--size=8", "--steps=1000000", "--tick=50", "--device=cpu", "--name=long"]
    training = subprocess.Popen([sys.executable, "-m", "gantool", "train", "mlp", *options], cwd=tmp_path)
    run = RunDir(tmp_path / "runs" / "0001-long")
    wait(lambda: run.metrics.is_file())
    with served(run) as address, hosts.browser() as browser:
        with hosts.page(browser, address.partition("#")[0], width=360) as page:
            page.goto(address)
            page.wait_for_selector("#stop:visible", timeout=20_000)
            assert page.url == address.partition("#")[0]
            assert page.evaluate("sessionStorage.token") == address.partition("#")[2]
            assert page.evaluate("document.documentElement.scrollWidth") == 360
            wait(lambda: page.evaluate("document.querySelector('#grid').naturalWidth") > 0)
            page.focus("#at")
            page.keyboard.press("Home")
            assert page.inner_text("#step") == "50"
            page.click("#stop")
            assert training.wait(30) == 130
            page.wait_for_selector("#status:text-is('Stopped')", timeout=20_000)
            reached = run.read().step
            assert run.checkpoint(reached).is_file()
            page.click("#resume")
            page.wait_for_selector("#stop:visible:enabled", timeout=60_000)
            wait(lambda: run.read().step > reached)
            page.click("#stop")
            page.wait_for_selector("#status:text-is('Stopped')", timeout=20_000)
    assert f"resumed at step {reached}" in (run.path / control.LOG).read_text()


@pytest.mark.slow
@pytest.mark.parametrize("dark", [False, True])
def test_points_are_drawn_over_the_scores(tmp_path: Path, dark: bool) -> None:
    """In Chromium. What files say is text there, never markup."""
    small = {"widths": (8,), "latent_dim": 2, "steps": 4, "tick": 2, "device": "cpu", "progress": False}
    run = RunDir(gantool.train("mlp", data="ring", runs=tmp_path, **small).path)
    with run.metrics.open("a") as file:
        file.write(
            json.dumps({"event": "alarm", "step": 4, "alarm": "stall", "text": "<img src=x onerror=boom()>"}) + "\n"
        )
    with served(run) as address, hosts.browser() as browser:
        with hosts.page(browser, address.partition("#")[0], width=360, dark=dark) as page:
            page.goto(address)
            page.wait_for_selector(
                "#plane[aria-label='500 real and 500 generated points at step 4, over the discriminator\\'s scores']"
            )
            before = page.evaluate(PIXELS)
            assert len(set(before)) > 500
            page.focus("#at")
            page.keyboard.press("Home")
            page.wait_for_selector("#plane[aria-label*='at step 2']")
            assert page.evaluate(PIXELS) != before
            assert page.inner_text("#warnings li:first-child") == "Step 4: <img src=x onerror=boom()>"
            assert page.evaluate("document.documentElement.scrollWidth") == 360


def wait(until: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not until():
        assert time.monotonic() < end
        time.sleep(0.05)
