"""The page's server: files of the page, files of one run, events, and two orders."""

from __future__ import annotations

import asyncio
import json
import secrets
import socket
import threading
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gantool.errors import GantoolError
from gantool.run.rundir import RunDir
from gantool.watching import control
from gantool.watching.snapshot import SAMPLE, Look

if TYPE_CHECKING:
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response

HOST = "127.0.0.1"
EVERY = 1.0  # seconds between two looks at the run
ALIVE = 15.0  # seconds of silence after which the server says that it lives
MAX_BYTES = 64 * 2**20  # of a file of samples
_PAGE = Path(__file__).parent / "page"
_SHARED = Path(__file__).parents[1] / "exporting" / "app" / "templates" / "playground"  # the look of our other page
PAGE = {
    "/": (_PAGE / "index.html", "text/html"),
    "/watch.css": (_PAGE / "watch.css", "text/css"),
    "/points.js": (_PAGE / "points.js", "text/javascript"),
    "/watch.js": (_PAGE / "watch.js", "text/javascript"),
    "/style.css": (_SHARED / "style.css", "text/css"),
    "/charts.js": (_SHARED / "charts.js", "text/javascript"),
}
TYPES = {"png": "image/png", "wav": "audio/wav", "json": "application/json"}
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "media-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",  # no other site shows the samples
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-cache",
}
# The token is behind the # of the printed address. A browser sends that part to no server, so it is in no log and in no
# Referer; the page reads it and sends it as a header, which a form of another site can't. A cookie would be sent to
# every port of 127.0.0.1, whoever listens there.
TOKEN = "X-Gantool-Token"


def app(run: RunDir, token: str, over: Callable[[], bool] = lambda: False) -> Starlette:
    """The ASGI app of a run's page. `over`: whether the server ends, so that open streams of events do, too."""
    from starlette.applications import Starlette
    from starlette.concurrency import run_in_threadpool
    from starlette.exceptions import HTTPException
    from starlette.middleware import Middleware
    from starlette.middleware.trustedhost import TrustedHostMiddleware
    from starlette.responses import FileResponse, JSONResponse, StreamingResponse
    from starlette.routing import Route

    look, looking, ours = Look(run), threading.Lock(), _Ours(run)

    def now() -> str:
        with looking:
            return json.dumps({**look.now(), **ours.shown()}, allow_nan=False)

    async def page(request: Request) -> Response:
        path, kind = PAGE[request.scope["path"]]  # request.url is made with the header Host
        return FileResponse(path, headers=HEADERS, media_type=kind)

    def sample(request: Request) -> Response:
        found = SAMPLE.fullmatch(request.path_params["name"])
        path = run.sample(0).parent / found[0] if found else None
        # a link may lead out of the run
        if not found or path is None or path.is_symlink() or not path.is_file() or path.stat().st_size > MAX_BYTES:
            raise HTTPException(404)
        return FileResponse(path, headers=HEADERS, media_type=TYPES[found[2]])

    async def events(request: Request) -> Response:
        async def stream() -> AsyncIterator[str]:
            sent, at = "", 0.0
            while not over():
                if (text := await run_in_threadpool(now)) != sent:
                    sent, at = text, time.monotonic()
                    yield f"data: {text}\n\n"
                elif time.monotonic() - at > ALIVE:
                    at = time.monotonic()
                    yield ": alive\n\n"
                await asyncio.sleep(EVERY)

        return StreamingResponse(stream(), headers=HEADERS, media_type="text/event-stream")

    def order(request: Request) -> Response:
        if not secrets.compare_digest(request.headers.get(TOKEN, "").encode(), token.encode()):
            raise HTTPException(403, "Open the page by the whole address that gantool watch printed.")
        with looking:
            try:
                {"/stop": ours.stop, "/resume": ours.resume}[request.scope["path"]]()
            except GantoolError as error:
                return JSONResponse({"error": str(error)}, 409, HEADERS)
        return JSONResponse({}, 202, HEADERS)

    def refused(request: Request, error: Any) -> Response:
        return JSONResponse({"error": error.detail}, error.status_code, HEADERS)

    return Starlette(
        routes=[
            *(Route(path, page) for path in PAGE),
            Route("/samples/{name}", sample),
            Route("/events", events),
            *(Route(path, order, methods=["POST"]) for path in ("/stop", "/resume")),
        ],
        # a name of another site that leads to 127.0.0.1 (DNS rebinding) is not served
        middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=[HOST, "localhost"], www_redirect=False)],
        exception_handlers={HTTPException: refused},
    )


class _Ours:
    """What this page did with the run's training."""

    def __init__(self, run: RunDir) -> None:
        self._run = run
        self._stopped = ""  # the holder of the lock that was told to stop
        self._resumed: control.Resumed | None = None

    def stop(self) -> None:
        who = self._run.holder()
        if who and who == self._stopped:
            return  # a second signal would end it without saving
        control.stop(self._run)
        self._stopped = who

    def resume(self) -> None:
        if not (self._resumed and self._resumed.runs):
            self._resumed, self._stopped = control.Resumed(self._run), ""

    def shown(self) -> dict[str, Any]:
        return {
            "stopping": self._stopped,
            "starting": bool(self._resumed and self._resumed.runs),
            "failure": self._resumed.failure() if self._resumed else "",
        }


def serve(run: RunDir, port: int, ready: Callable[[str], object]) -> None:
    """Serve the page until Ctrl-C; `ready` is given its address. `port`: 0 for a free one.

    GantoolError when the port is taken. It works inside a running event loop, too (a notebook).
    """
    import uvicorn

    listening = socket.socket()
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((HOST, port))
        listening.listen()  # before the address is told: who connects at once waits, and is not refused
    except OSError as error:
        listening.close()
        raise GantoolError(
            f"Port {port} of {HOST} can't be used: {error.strerror}.", "Leave out --port for a free one."
        ) from error
    token = secrets.token_urlsafe(24)
    made: list[uvicorn.Server] = []
    config = uvicorn.Config(
        app(run, token, lambda: made[0].should_exit),
        log_level="warning", access_log=False, lifespan="off", ws="none", http="h11", loop="asyncio",
        server_header=False, proxy_headers=False, timeout_graceful_shutdown=2,
    )  # fmt: skip
    made.append(uvicorn.Server(config))
    thread = threading.Thread(target=made[0].run, args=([listening],), daemon=True)
    thread.start()
    try:
        ready(f"http://{HOST}:{listening.getsockname()[1]}/#{token}")
        while thread.is_alive():
            thread.join(0.5)
    except KeyboardInterrupt:
        pass
    finally:
        made[0].should_exit = True
        thread.join()
        listening.close()
