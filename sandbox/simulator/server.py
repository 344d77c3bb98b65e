"""The simulated Alma on a port of the loopback interface.

Beside Alma's own paths it answers some for judges, which count as no calls and take no key:

- `GET /_simulator/state?institution=CODE`: users by status, calls, writes and 429s so far, and how many calls are left
  today and were at least, as one JSON object
- `GET /_simulator/users?institution=CODE`: all user records as they are stored, one JSON object a line
- `POST /_simulator/renew`: count the calls of the day anew, everywhere, as Alma does at midnight
"""

import asyncio
import contextlib
import json
from collections import Counter
from collections.abc import Callable
from urllib.parse import parse_qsl

from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from sandbox import serving
from sandbox.simulator.alma import Alma
from sandbox.simulator.messages import Reply

# Longer than clients wait for a reply.
_SILENCE = 60.0
_RENEW = "/_simulator/renew"


def application(alma: Alma) -> ASGIApp:
    """The ASGI application in front of `alma`."""

    async def serve(scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        # The raw path: decoded, an encoded slash could not be told from a separating one.
        path = scope["raw_path"].decode("ascii")
        query = dict(parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True))
        if path.startswith("/_simulator/"):
            response = _renewed(alma, scope["method"]) if path == _RENEW else _for_judges(alma, path, query)
        else:
            reply = alma.handle(scope["method"], path, query, dict(request.headers), await request.body())
            await asyncio.sleep(_SILENCE if reply.lost == "timeout" else reply.latency)
            if reply.lost is not None:
                await _break_off(send)
                return
            response = _response(reply)
        await response(scope, receive, send)

    return serve


def _response(reply: Reply) -> Response:
    return Response(reply.body, status_code=reply.status, headers=dict(reply.headers))


async def _break_off(send: Send) -> None:
    """Announce a body and end without it: the server then closes the connection under the client."""
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"1")]})
    await send({"type": "http.response.body", "body": b"", "more_body": True})


def _renewed(alma: Alma, method: str) -> Response:
    if method != "POST":
        return PlainTextResponse(f"{_RENEW} takes a POST", 405)
    alma.renew_quotas()
    return JSONResponse({code: alma.remaining(code) for code in alma.institutions})


def _for_judges(alma: Alma, path: str, query: dict[str, str]) -> Response:
    code = query.get("institution", "")
    if code not in alma.institutions or path not in ("/_simulator/state", "/_simulator/users"):
        return PlainTextResponse("give state or users, with ?institution=CODE of a simulated institution", 404)
    institution = alma.institution(code)
    if path == "/_simulator/users":
        lines = (json.dumps(user, ensure_ascii=False) + "\n" for user in list(institution.users.values()))
        return Response("".join(lines), media_type="application/x-ndjson")
    calls = {f"{method} {route}": n for (owner, method, route), n in sorted(alma.calls.items()) if owner == code}
    return JSONResponse(
        {
            "institution": code,
            "users": Counter(user["status"]["value"] for user in list(institution.users.values())),
            "calls": calls,
            "writes": Counter(write.method for write in list(institution.writes)),
            "throttled": alma.throttled[code],
            "daily_quota": institution.daily_quota,
            "remaining": alma.remaining(code),
            "lowest_remaining": alma.lowest.get(code, alma.remaining(code)),
        }
    )


def serve(alma: Alma, port: int, on_ready: Callable[[str], None]) -> None:
    """Serve until interrupted; `on_ready` gets the URL once calls are answered. Port 0 takes a free one.

    Raises OSError when the port is taken.
    """
    serving.serve(application(alma), port, on_ready)


def running(alma: Alma) -> contextlib.AbstractContextManager[str]:
    """Serve from a thread of this process, on a free port, for as long as the block lasts; gives the URL."""
    return serving.running(application(alma))
