"""The page's server: the dashboards, the answers of their widgets, the mail box, and where links to reports lead."""

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sandbox.local_aws import LocalAwsError
from sandbox.sandbox import SandboxError
from sandbox.web.cloud import Cloud
from sandbox.web.dashboards import BadDashboard, Dashboard, View, widget_context
from sandbox.web.widgets import PROBLEMS, TEMPLATES, Refused, call, problem_of, show

T = TypeVar("T", bound=BaseModel)

# Widgets may style themselves, as on CloudWatch, and do nothing else: no script but the page's own is run, and nothing
# is asked of any other address.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}
_RANGES = (3600, 3 * 3600, 12 * 3600, 24 * 3600, 3 * 24 * 3600, 7 * 24 * 3600, 28 * 24 * 3600)  # seconds


class Asked(BaseModel):
    """The page wants a widget's content."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    dashboard: str
    widget: int = Field(ge=0)
    view: View


class Pressed(Asked):
    """Somebody has pressed what a widget's `cwdb-action` belongs to."""

    endpoint: str
    params: dict[str, Any]


def application(cloud: Cloud) -> Starlette:
    """The ASGI application in front of `cloud`."""
    pages = _Pages(cloud)
    return Starlette(
        routes=[
            Route("/", pages.dashboard),
            Route("/widget", pages.widget, methods=["POST"]),
            Route("/call", pages.call, methods=["POST"]),
            Route("/mail", pages.mail),
            Route("/mail/{mail}/{number:int}", pages.attachment),
            Route("/reports/{token}", pages.report),
            Mount("/static", StaticFiles(directory=Path(__file__).parent / "static")),
        ],
        middleware=[
            Middleware(_Careful),
            Middleware(TrustedHostMiddleware, allowed_hosts=["127.0.0.1", "localhost"], www_redirect=False),
        ],
        exception_handlers={HTTPException: _refused, SandboxError: _refused, LocalAwsError: _refused},
    )


class _Pages:
    """The answers to requests. Those that wait for AWS run in threads."""

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud

    def dashboard(self, request: Request) -> Response:
        """A dashboard: the one of the query, or the first."""
        names = sorted(self._cloud.dashboards())
        name = request.query_params.get("dashboard", names[0] if names else "")
        dashboard, problem = None, ""
        if name in names:
            try:
                dashboard = Dashboard.read(self._cloud.body(name))
            except BadDashboard as error:
                problem = f"{name} isn't a dashboard that CloudWatch could show: {error}"
        elif name:
            problem = f"There is no dashboard {name}."
        shown = int(dashboard.range.total_seconds()) if dashboard else 0
        ranges = {seconds: _span(seconds) for seconds in sorted({*_RANGES, shown} - {0})}
        facts = {"names": names, "name": name, "dashboard": dashboard, "problem": problem}
        return _page(
            "dashboard", 404 if name and name not in names else 200, facts | {"ranges": ranges, "shown": shown}
        )

    async def widget(self, request: Request) -> Response:
        """A widget's content, as {"html"}, or {"error"}."""
        asked = await _body(request, Asked)
        return await run_in_threadpool(self._answer, asked, None)

    async def call(self, request: Request) -> Response:
        """What a function answers a press of a button, as {"html"}, or {"error"}."""
        pressed = await _body(request, Pressed)
        return await run_in_threadpool(self._answer, pressed, pressed)

    def _answer(self, asked: Asked, pressed: Pressed | None) -> Response:
        arn = self._cloud.dashboards().get(asked.dashboard)
        widgets = Dashboard.read(self._cloud.body(asked.dashboard)).widgets if arn else ()
        if arn is None or asked.widget >= len(widgets):
            raise HTTPException(404, "there is no such widget any more: load the page again")
        widget, now = widgets[asked.widget], datetime.now(UTC)
        context = widget_context(asked.dashboard, arn, asked.widget, widget, asked.view, now)
        try:
            if pressed:
                html = call(self._cloud, pressed.endpoint, pressed.params, context)
            else:
                html = show(self._cloud, widget, asked.view, context, now)
        except Refused as error:
            raise HTTPException(403, str(error)) from None
        except PROBLEMS as error:
            return JSONResponse({"error": problem_of(error)})
        return JSONResponse({"html": html})

    def mail(self, _: Request) -> Response:
        """The mail box."""
        return _page("mail", 200, {"mails": self._cloud.mails()})

    def attachment(self, request: Request) -> Response:
        """A file that came with a mail, to be stored."""
        number: int = request.path_params["number"]
        for mail in self._cloud.mails():
            if mail.id == request.path_params["mail"] and number < len(mail.attachments):
                file = mail.attachments[number]
                name = {"Content-Disposition": f"attachment; filename*=UTF-8''{quote(file.name)}"}
                return Response(file.content, media_type="application/octet-stream", headers=name)
        raise HTTPException(404, "there is no such file")

    def report(self, request: Request) -> Response:
        """Where a mail's link to a report leads: in the place of the link function's own URL."""
        told = self._cloud.follow(request.path_params["token"], request.method)
        return Response(told["body"], told["statusCode"], told["headers"])


class _Careful:
    """Gives each answer its headers, and takes a POST from the page itself alone."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def careful(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(_HEADERS)
            await send(message)

        headers = Headers(scope=scope)
        own = f"http://{headers.get('host', '')}"
        is_json = headers.get("content-type", "").partition(";")[0].strip() == "application/json"
        if scope["method"] == "POST" and not (is_json and headers.get("origin") == own):
            refusal = JSONResponse({"error": "only this page itself may ask, and in JSON"}, 403)
            await refusal(scope, receive, careful)
        else:
            await self._app(scope, receive, careful)


async def _body(request: Request, kind: type[T]) -> T:
    try:
        return kind.model_validate_json(await request.body())
    except ValidationError as error:
        wrong = "; ".join(f"{'.'.join(map(str, one['loc'])) or 'body'}: {one['msg']}" for one in error.errors())
        raise HTTPException(400, wrong) from None


def _page(kind: str, status: int, facts: Mapping[str, Any]) -> Response:
    return HTMLResponse(TEMPLATES.get_template(f"{kind}_page.html.jinja").render(facts), status)


async def _refused(request: Request, error: Exception) -> Response:
    """The answer to what can't be answered: JSON for the page's script, else a page."""
    status, why = (error.status_code, error.detail) if isinstance(error, HTTPException) else (503, str(error))
    if request.method == "POST":
        return JSONResponse({"error": why}, status)
    return _page("problem", status, {"status": status, "why": why})


def _span(seconds: int) -> str:
    """How long, in words."""
    for length, unit in ((24 * 3600, "day"), (3600, "hour"), (60, "minute")):
        if seconds % length == 0:
            count = seconds // length
            return f"{count} {unit}{'' if count == 1 else 's'}"
    return f"{seconds} seconds"
