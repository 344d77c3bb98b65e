"""ASGI applications on a port of the loopback interface."""

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator

import uvicorn
from starlette.types import ASGIApp

HOST = "127.0.0.1"


class _Server(uvicorn.Server):
    def __init__(self, application: ASGIApp, on_ready: Callable[[], None], log_level: str) -> None:
        super().__init__(
            uvicorn.Config(
                application,
                http="h11",
                ws="none",
                lifespan="off",
                log_level=log_level,
                access_log=False,
                timeout_keep_alive=60,
                timeout_graceful_shutdown=1,
            )
        )
        self._on_ready = on_ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._on_ready()


def _listen(port: int) -> tuple[socket.socket, str]:
    listener = socket.create_server((HOST, port), backlog=512)
    return listener, f"http://{HOST}:{listener.getsockname()[1]}"


def serve(application: ASGIApp, port: int, on_ready: Callable[[str], None], *, log_level: str = "critical") -> None:
    """Serve until interrupted; `on_ready` gets the URL once calls are answered. Port 0 takes a free one.

    Raises OSError when the port is taken.
    """
    listener, url = _listen(port)
    with listener:
        _Server(application, lambda: on_ready(url), log_level).run(sockets=[listener])


@contextlib.contextmanager
def running(application: ASGIApp) -> Iterator[str]:
    """Serve from a thread of this process, on a free port, for as long as the block lasts; gives the URL."""
    listener, url = _listen(0)
    ready = threading.Event()
    server = _Server(application, ready.set, "critical")
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    with listener:
        thread.start()
        if not ready.wait(10):
            raise RuntimeError("the server did not start within 10 s")
        try:
            yield url
        finally:
            server.should_exit = True
            thread.join(10)
