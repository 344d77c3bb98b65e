"""The simulated Alma inside a requests session, without a socket: for fast tests."""

import io
import time
from collections.abc import Callable, Mapping
from urllib.parse import parse_qsl, urlsplit

import requests
import urllib3
from requests.adapters import BaseAdapter, HTTPAdapter

from sandbox.simulator.alma import Alma


class SimulatorAdapter(BaseAdapter):
    """Mount it in a session: `session.mount("https://", SimulatorAdapter(alma))`.

    It waits for each reply by `sleep`. A reply that takes longer than the read timeout raises ReadTimeout,
    though Alma has done the work; a lost one raises ConnectionError or ReadTimeout.
    """

    def __init__(self, alma: Alma, *, sleep: Callable[[float], None] = time.sleep) -> None:
        super().__init__()
        self._alma = alma
        self._sleep = sleep
        self._http = HTTPAdapter()

    def send(
        self,
        request: requests.PreparedRequest,
        stream: bool = False,  # noqa: ARG002
        timeout: float | tuple[float | None, float | None] | None = None,
        verify: bool | str = True,  # noqa: ARG002
        cert: object = None,  # noqa: ARG002
        proxies: Mapping[str, str] | None = None,  # noqa: ARG002
    ) -> requests.Response:
        """Hand the request to the simulated Alma."""
        url = urlsplit(request.url or "")
        query = dict(parse_qsl(url.query, keep_blank_values=True))
        body = request.body or b""
        reply = self._alma.handle(
            request.method or "GET",
            url.path,
            query,
            {name: _text(value) for name, value in request.headers.items()},
            body.encode() if isinstance(body, str) else body,
        )
        patience = timeout[1] if isinstance(timeout, tuple) else timeout
        if reply.lost == "timeout" or (patience is not None and reply.latency > patience):
            self._sleep(reply.latency if patience is None else patience)
            raise requests.exceptions.ReadTimeout("read timed out", request=request)
        self._sleep(reply.latency)
        if reply.lost == "reset":
            raise requests.exceptions.ConnectionError("connection reset by peer", request=request)
        raw = urllib3.HTTPResponse(
            body=io.BytesIO(reply.body),
            headers=dict(reply.headers),
            status=reply.status,
            preload_content=False,
        )
        return self._http.build_response(request, raw)

    def close(self) -> None:
        """Nothing is held open."""


def _text(value: str | bytes) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else value
