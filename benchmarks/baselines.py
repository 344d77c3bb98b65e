"""What a library would write by itself to deactivate patrons, written fairly: plain loops on `requests`."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple
from urllib.parse import quote

import requests


class Tally(NamedTuple):
    """What a script did: patrons made INACTIVE, and patrons lost to an error it doesn't handle."""

    done: int
    lost: int


def _deactivate(session: requests.Session, base_url: str, primary_id: str) -> bool:
    url = f"{base_url}/almaws/v1/users/{quote(primary_id, safe='')}"
    reply = session.get(url)
    if reply.status_code != 200:
        return False
    record = reply.json()
    record["status"] = {"value": "INACTIVE"}
    return session.put(url, json=record).status_code == 200


def _session(api_key: str) -> requests.Session:
    session = requests.Session()
    session.headers.update({"Authorization": f"apikey {api_key}", "Accept": "application/json"})
    return session


def sequential(base_url: str, api_key: str, ids: list[str]) -> Tally:
    """One patron after the other, over one connection."""
    with _session(api_key) as session:
        results = [_deactivate(session, base_url, primary_id) for primary_id in ids]
    return Tally(sum(results), len(results) - sum(results))


def thread_pool(base_url: str, api_key: str, ids: list[str], threads: int = 16) -> Tally:
    """Many at once, without a pace."""
    with _session(api_key) as session, ThreadPoolExecutor(threads) as pool:
        session.mount("http://", requests.adapters.HTTPAdapter(pool_maxsize=threads))
        results = list(pool.map(lambda primary_id: _deactivate(session, base_url, primary_id), ids))
    return Tally(sum(results), len(results) - sum(results))


BASELINES: dict[str, Callable[[str, str, list[str]], Tally]] = {
    "plain sequential script": sequential,
    "thread pool without a pace": thread_pool,
}
