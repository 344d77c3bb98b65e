"""The simulated Alma held against Alma's official documents, which lie beside the project on some machines."""

import json
import re
from typing import Any

import pytest
from jsonschema import Draft202012Validator, ValidationError
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012

from sandbox.simulator.routes import ROUTES, Route
from tests.alma_facts import OPENAPI, SAMPLES, needs_openapi
from tests.unit.sandbox.simulator_caller import Caller

BASE = "https://alma.example/"

pytestmark = needs_openapi

# Codes that a call gives without being documented for it, and why.
UNDOCUMENTED = {
    ("GET", "/users"): {"40166410"},  # limit out of range: documented for sets
    ("PUT", "/users/{user_id}"): {
        "401861",  # not found, as recorded
        "401664",  # missing field, met by libraries; documented for POST
        "401851",  # identifier taken, met by libraries; documented for POST
        "401853",  # external id: documented for POST
        "401854",
    },
    ("DELETE", "/users/{user_id}"): {"401861"},  # not found, as recorded
    ("GET", "/conf/sets/{set_id}/members"): {"40166410"},  # limit out of range: documented for sets
}


def validator(name: str) -> Draft202012Validator:
    """A validator for one official schema, such as rest_set, which refers to others by file name."""
    schemas = {path.name: json.loads(path.read_bytes()) for path in OPENAPI.glob("rest_*.json")}
    registry: Registry[Any] = Registry().with_resources(
        (BASE + file, Resource.from_contents(schema, default_specification=DRAFT202012))
        for file, schema in schemas.items()
    )
    return Draft202012Validator({"$ref": f"{BASE}{name}.json#/{name}"}, registry=registry)


@pytest.mark.parametrize(
    ("path", "schema"),
    [
        ("/conf/general", "rest_general"),
        ("/conf/sets", "rest_sets"),
        ("/conf/sets/11", "rest_set"),
        ("/conf/sets/14", "rest_set"),
        ("/conf/sets/11/members", "rest_members"),
        ("/conf/sets/12/members", "rest_members"),
        ("/conf/sets/14/members", "rest_members"),
        ("/conf/sets/15/members", "rest_members"),
    ],
)
def test_answers_fit_the_official_schemas(call: Caller, path: str, schema: str) -> None:
    """Answers of general, sets, set and members validate against the official schemas, and only name their fields."""
    answer = call.get(path)
    validator(schema).validate(answer)
    fields = json.loads((OPENAPI / f"{schema}.json").read_bytes())[schema.removeprefix("rest_")]["properties"]
    assert set(answer) <= set(fields)


def test_schemas_can_fail() -> None:
    """The schemas are really followed, across files: a set among sets whose name is a number is found."""
    with pytest.raises(ValidationError):
        validator("rest_sets").validate({"set": [{"name": 1}], "total_record_count": 1})


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: f"{route.method} {route.template}")
def test_routes_are_documented(route: Route) -> None:
    """Every call, every parameter it understands and every error code it gives are in the official documents."""
    file = "users.json" if route.template.startswith("/users") else "conf.json"
    paths = json.loads((OPENAPI / file).read_bytes())["paths"]
    documented = paths[f"/almaws/v1{route.template}"][route.method.lower()]
    assert set(route.parameters) <= {parameter["name"] for parameter in documented.get("parameters", [])}
    codes = set(re.findall(r"\b\d{5,8}\b", documented["responses"]["400"]["description"]))
    assert set(route.errors) - codes == UNDOCUMENTED.get((route.method, route.template), set())


def test_records_have_the_keys_of_recorded_ones(call: Caller) -> None:
    """A user has every key that recorded users have, but for dates, which may be absent."""
    recorded = [json.loads((SAMPLES / f"user_{name}.json").read_bytes()) for name in ("bbird", "cmonster", "response")]
    keys = set().union(*recorded) - {"birth_date", "expiry_date", "purge_date"}
    assert keys <= set(call.get("/users/fern.arno"))


def test_rows_have_the_keys_of_recorded_ones(call: Caller) -> None:
    """A brief row of users, and a row of sets, have exactly the keys of recorded ones."""
    users = json.loads((SAMPLES / "users_response.json").read_bytes())
    assert set(call.get("/users")["user"][0]) == set(users["user"][0])
    sets = json.loads((SAMPLES / "sets.json").read_bytes())
    assert set(call.get("/conf/sets")["set"][0]) == set(sets["set"][0])
    logical = json.loads((SAMPLES / "set_logical.json").read_bytes())
    assert set(call.get("/conf/sets/11")) == set(logical)
    members = json.loads((SAMPLES / "set_members.json").read_bytes())
    assert set(call.get("/conf/sets/14/members")["member"][0]) == set(members["member"][0])
