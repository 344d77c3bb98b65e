"""Every recorded or published body is read, whichever it is."""

import json
from pathlib import Path

import pytest

from patron_lifecycle.alma.errors import AlmaError, NotFound, error_from
from patron_lifecycle.alma.gateway import AlmaReader
from tests.alma_facts import SAMPLES, needs_samples
from tests.unit.alma.scripted_alma import FakeClock, ScriptedAlma, client_of, reply

FILES = sorted(SAMPLES.iterdir()) if SAMPLES.is_dir() else []


@needs_samples
@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_every_sample_parses(file: Path) -> None:
    """An error gives a typed error with Alma's own code; anything else the object that it is."""
    content = file.read_bytes()
    if file.suffix == ".http":
        content = content.replace(b"\r\n", b"\n").partition(b"\n\n")[2]
    clock = FakeClock()
    if b"errorsExist" in content:
        error = error_from(400, "", content)
        assert not error.code.startswith("http_")
        assert error.code in content.decode()
        alma = ScriptedAlma(lambda _: reply(content, 400), clock)
        with pytest.raises(type(error)):
            client_of(alma, clock, retry_seconds=1).get(("users", "x"))
        assert isinstance(error, AlmaError)
    else:
        assert client_of(ScriptedAlma([reply(content)], clock), clock).get(("x",)) == json.loads(content)


@needs_samples
def test_a_patron_who_is_not_found_is_told_as_such() -> None:
    """The recorded answer for a patron who isn't there is NotFound."""
    assert isinstance(error_from(400, "", (SAMPLES / "user_ogrouch.json").read_bytes()), NotFound)


@needs_samples
def test_a_listed_contact_without_primary_id_is_read() -> None:
    """A contact without a primary id is a row like others; its words for having none are kept."""
    row = json.loads((SAMPLES / "users_contact_without_primary_id.json").read_bytes())
    clock = FakeClock()
    listed = json.dumps({"user": [row], "total_record_count": 1}).encode()
    page = AlmaReader(client_of(ScriptedAlma([reply(listed)], clock), clock)).users_page(0)
    assert page.rows[0]["primary_id"].startswith("no primary id")
