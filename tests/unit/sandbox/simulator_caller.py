"""A caller that speaks to the simulated Alma as a well-behaved client does."""

import json
from collections.abc import Mapping
from datetime import date
from typing import Any

from sandbox.simulator.alma import PREFIX, Alma
from sandbox.simulator.institutions import SimulatedInstitution
from sandbox.simulator.messages import Reply

TODAY = date(2026, 11, 23)
CODE = "01OHIO_AAA"
KEY = "key-of-aaa"


class Caller:
    """Calls the simulated Alma with a key, asking for JSON."""

    def __init__(self, alma: Alma, key: str = KEY) -> None:
        self.alma = alma
        self.key = key

    def __call__(self, method: str, path: str, body: object = None, **query: str) -> Reply:
        """The reply to one call; `path` is the raw one below /almaws/v1."""
        headers = {
            "Authorization": f"apikey {self.key}",
            "Accept": "application/json",
            "Content-Type": "application/json",
        }
        return self.alma.handle(method, PREFIX + path, query, headers, json.dumps(body).encode())

    def get(self, path: str, **query: str) -> Any:
        """The JSON of a GET that must succeed."""
        reply = self("GET", path, **query)
        assert reply.status == 200, reply.body
        return json.loads(reply.body)

    def post(self, body: Mapping[str, Any]) -> Any:
        """The JSON of a POST of a new user that must succeed."""
        reply = self("POST", "/users", body)
        assert reply.status == 200, reply.body
        return json.loads(reply.body)

    def put(self, path: str, body: Mapping[str, Any], **query: str) -> Any:
        """The JSON of a PUT that must succeed."""
        reply = self("PUT", path, body, **query)
        assert reply.status == 200, reply.body
        return json.loads(reply.body)


def world(*users: dict[str, Any]) -> tuple[SimulatedInstitution, Caller]:
    """An institution of these patrons, and a caller."""
    institution = SimulatedInstitution(CODE, "Ashland", KEY, users=users)
    return institution, Caller(Alma([institution], per_second=None, today=lambda: TODAY))


def refusal(reply: Reply) -> tuple[int, str, str]:
    """HTTP status, code and message of an error in JSON that has a tracking id."""
    row = json.loads(reply.body)["errorList"]["error"][0]
    assert row["trackingId"]
    return reply.status, row["errorCode"], row["errorMessage"]
