"""HTTP to one institution's Alma: keep-alive, paced, with typed errors. Knows nothing of patrons.

A GET is tried again by itself. A write is sent once: whether an unanswered one was carried out can only be found
out by reading. The one exception is HTTP 429, by which Alma says that it did nothing.

What leaves this module holds neither the API key nor a URL, in which patron ids stand: exceptions of `requests`
become `Unavailable`, and the log lines of `urllib3` that show URLs are switched off.
"""

import json
import logging
import math
import re
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from http.cookiejar import DefaultCookiePolicy
from typing import Any, TypeVar
from urllib.parse import quote

import requests
import urllib3
from requests.adapters import BaseAdapter, HTTPAdapter
from tenacity import RetryCallState, Retrying, retry_if_exception_type, wait_random_exponential

from patron_lifecycle.alma.errors import AlmaError, PerSecondThreshold, Unavailable, error_from
from patron_lifecycle.alma.pace import Pace

CONNECT_SECONDS, READ_SECONDS, LEAST_READ_SECONDS = 5.0, 30.0, 1.5
_CONNECTIONS = 32  # as many threads as a pace asks for at most
_PATH_PREFIX = "/almaws/v1"
_API_KEY = re.compile(r"[!-~]+")  # what a header can carry; requests would show any other in its error text
_REMAINING = re.compile(r"[0-9]{1,12}")
_LONGER_EACH_TIME = wait_random_exponential(multiplier=0.5, max=10)  # seconds, with full jitter

for _name in ("urllib3.connectionpool", "urllib3.connection"):
    logging.getLogger(_name).setLevel(logging.ERROR)  # debug lines and header warnings show whole URLs

Params = Mapping[str, str | int]
Reply = TypeVar("Reply")


class NotAddressable(ValueError):
    """A path segment that URL normalisation would drop, so that the call would reach something else."""


class AlmaClient:
    """One institution's Alma with one API key. Threads may share it.

    `base_url` is scheme and host, without `/almaws`. `clock` and `sleep` should be the pace's too. `deadline` (a time
    of the clock) may be set at any moment: no call starts after it. `calls` counts the requests sent, `throttled`
    those that Alma answered with 429; `remaining` is the last readable X-Exl-Api-Remaining: the calls left today to
    the whole institution; `under_way` counts the calls that threads are making now, which come off it.
    """

    def __init__(
        self,
        *,
        base_url: str,
        api_key: str,
        pace: Pace,
        adapter: BaseAdapter | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
        retry_seconds: float = 60.0,
    ) -> None:
        if not base_url.startswith(("https://", "http://")):
            raise ValueError(f'base_url is "{base_url}": it should start with https://')
        if not _API_KEY.fullmatch(api_key):
            raise ValueError("the API key is empty or has blanks, line ends or odd characters: store it again")
        self.pace = pace
        self.deadline: float | None = None
        self.calls = 0
        self.throttled = 0
        self.remaining: int | None = None
        self.under_way = 0
        self._root = base_url.rstrip("/") + _PATH_PREFIX
        self._clock = clock
        self._sleep = sleep
        self._retry_seconds = retry_seconds
        self._lock = threading.Lock()
        self._session = requests.Session()
        self._session.trust_env = False  # a .netrc entry for the host would replace the key's header
        self._session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
        self._session.headers.update(
            {
                "Authorization": f"apikey {api_key}",
                "Accept": "application/json",
                "User-Agent": "alma-patron-lifecycle",
            }
        )
        adapter = adapter or HTTPAdapter(pool_connections=1, pool_maxsize=_CONNECTIONS, max_retries=0)
        self._session.mount("https://", adapter)
        self._session.mount("http://", adapter)

    def close(self) -> None:
        """Close the connections."""
        self._session.close()

    def get(self, segments: Iterable[str], params: Params | None = None) -> dict[str, Any]:
        """Read a JSON object.

        Tried again after a 429 and while Alma is unavailable, for `retry_seconds` at most. Raises the last
        `AlmaError`; `TooLate` when `deadline` comes before the call's turn; `NotAddressable`.
        """
        url = self._url(segments)
        attempts = self._attempts_on(PerSecondThreshold, Unavailable)
        return attempts(lambda: self._call(_object_of, None, "GET", url, params=params))

    def put(self, segments: Iterable[str], body: Mapping[str, Any], not_after: float | None = None) -> dict[str, Any]:
        """Replace what the path names, and give back the JSON object that Alma answers with.

        Sent again after a 429 alone, for `retry_seconds` at most. Raises `AlmaError`; `TooLate` when its turn comes
        after `not_after` (a time of the clock) or `deadline`; `NotAddressable`.
        """
        return self._write("PUT", segments, body, not_after, _object_of)

    def delete(self, segments: Iterable[str], not_after: float | None = None) -> None:
        """Delete what the path names. Sent again, and raises, as `put` does."""
        self._write("DELETE", segments, None, not_after, _nothing_of)

    def post(self, segments: Iterable[str], body: Mapping[str, Any], not_after: float | None = None) -> dict[str, Any]:
        """Create something below the path, and give back the JSON object that Alma answers with; else as `put`."""
        return self._write("POST", segments, body, not_after, _object_of)

    def post_text(self, segments: Iterable[str]) -> str:
        """Post an empty body, and give back a reply of whatever content type. Sent again as `put` is."""
        return self._write("POST", segments, None, None, _text_of)

    def _write(
        self,
        method: str,
        segments: Iterable[str],
        body: Mapping[str, Any] | None,
        not_after: float | None,
        read: Callable[[requests.Response], Reply],
    ) -> Reply:
        url = self._url(segments)
        attempts = self._attempts_on(PerSecondThreshold)
        return attempts(lambda: self._call(read, not_after, method, url, body=body))

    def _url(self, segments: Iterable[str]) -> str:
        parts = [self._root]
        for segment in segments:
            if segment in ("", ".", ".."):
                raise NotAddressable("a path segment that is empty or made of dots would address something else")
            parts.append(quote(segment, safe="", errors="surrogatepass"))
        return "/".join(parts)

    def _attempts_on(self, *errors: type[AlmaError]) -> Retrying:
        give_up_at = self._clock() + self._retry_seconds

        def pause(state: RetryCallState) -> float:
            is_throttled = state.outcome is not None and isinstance(state.outcome.exception(), PerSecondThreshold)
            return 0.0 if is_throttled else _LONGER_EACH_TIME(state)  # the pace itself halts after a 429

        def is_time_up(state: RetryCallState) -> bool:
            return self._clock() + state.upcoming_sleep >= min(give_up_at, self._last_start(None))

        return Retrying(
            retry=retry_if_exception_type(errors), wait=pause, stop=is_time_up, sleep=self._sleep, reraise=True
        )

    def _read_seconds(self) -> float:
        """How long a reply may take: near the deadline no longer than what is left, lest the worker be cut off."""
        left = math.inf if self.deadline is None else self.deadline - self._clock()
        return min(READ_SECONDS, max(LEAST_READ_SECONDS, left))

    def _last_start(self, not_after: float | None) -> float:
        return min(moment if moment is not None else math.inf for moment in (not_after, self.deadline))

    def _call(
        self,
        read: Callable[[requests.Response], Reply],
        not_after: float | None,
        method: str,
        url: str,
        params: Params | None = None,
        body: Mapping[str, Any] | None = None,
    ) -> Reply:
        with self._lock:
            self.under_way += 1
        try:
            self.pace.wait(self._last_start(not_after))
            response = self._exchange(requests.Request(method, url, params=params, json=body))
        finally:
            with self._lock:
                self.under_way -= 1
        try:
            return read(response)
        except PerSecondThreshold:
            self.pace.back_off()
            with self._lock:
                self.throttled += 1
            raise

    def _exchange(self, request: requests.Request) -> requests.Response:
        """Send one request. Raises `Unavailable` when there is no whole answer."""
        with self._lock:
            self.calls += 1
        began = self._clock()
        try:
            response = self._session.send(
                self._session.prepare_request(request),
                timeout=(CONNECT_SECONDS, self._read_seconds()),
                allow_redirects=False,
            )
        except requests.Timeout:
            trouble = "timeout"
        except (requests.exceptions.ChunkedEncodingError, requests.exceptions.ContentDecodingError):
            trouble = "broken_reply"
        except (OSError, urllib3.exceptions.HTTPError):
            trouble = "connection"
        else:
            remaining = response.headers.get("X-Exl-Api-Remaining", "").strip()
            if _REMAINING.fullmatch(remaining):
                self.remaining = int(remaining)
            return response
        finally:
            self.pace.observe(self._clock() - began)
        # Raised out here, so that it doesn't carry the exception of requests along, which shows the URL.
        raise Unavailable(None, trouble)


def _object_of(response: requests.Response) -> dict[str, Any]:
    """The JSON object of a 2xx reply. Raises the typed error of any other reply, also of an error sent with a 2xx."""
    try:
        found = json.loads(response.content.decode("utf-8-sig"))
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict) or not _is_success(response):
        raise _error_of(response)
    if found.get("errorsExist") or "web_service_result" in found:
        raise _error_of(response)
    return found


def _nothing_of(response: requests.Response) -> None:
    """Nothing, of a 2xx reply without a body. One with a body must be an object that tells of no error."""
    if not (_is_success(response) and not response.content):
        _object_of(response)


def _text_of(response: requests.Response) -> str:
    """The text of a 2xx reply. Raises the typed error of any other reply, also of an error sent with a 2xx."""
    text = response.content.decode("utf-8-sig", errors="replace")
    if "errorsExist" in text or not _is_success(response):
        raise _error_of(response)
    return text


def _is_success(response: requests.Response) -> bool:
    return 200 <= response.status_code < 300


def _error_of(response: requests.Response) -> AlmaError:
    error = error_from(response.status_code, response.headers.get("Content-Type", ""), response.content)
    if _is_success(response) and error.code == f"http_{response.status_code}":
        return Unavailable(response.status_code, "unreadable_reply", error.message)
    return error
