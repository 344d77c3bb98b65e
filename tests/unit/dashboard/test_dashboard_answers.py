"""What the operator answers to a button of the dashboard."""

import json
from collections.abc import Mapping
from datetime import timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from patron_lifecycle.dashboard.answers import answer_on_dashboard, filled_in, is_from_dashboard
from patron_lifecycle.policy.reasons import Action
from patron_lifecycle.registry import RegistryError
from patron_lifecycle.runs.events import InvalidEvent, parse_operator
from patron_lifecycle.runs.model import Answer, InstitutionRun, Status, Verdict
from tests.samples import CODE, NOW, institution, institution_run
from tests.unit.dashboard.widget_page import WidgetPage

APPROVE = {"command": "approve", "run_id": "purge-1", "institution": CODE}
HOSTILE = '<script>alert("x")</script> & <b>'
ZONE = ZoneInfo("America/New_York")


def pressed(event: Mapping[str, Any] = APPROVE, **form: object) -> dict[str, Any]:
    """What CloudWatch sends when a button is pressed with this filled in."""
    return {**event, "widgetContext": {"dashboardName": "patrons", "theme": "light", "forms": {"all": form}}}


def decided(answer: Answer = Answer.APPROVED, action: Action = Action.PURGE, **changes: Any) -> InstitutionRun:
    """An institution run to which somebody has said something."""
    verdict = Verdict(answer=answer, by="Ana <b>Systems</b>", note="looked & found", at=NOW)
    status = Status.QUEUED if answer is Answer.APPROVED else Status.REJECTED
    whole: dict[str, Any] = {"institution": institution(name="Ashland"), "action": action, "status": status, "due": 12}
    return institution_run("purge-1", verdicts=(verdict,), **whole | changes)


def answered(event: dict[str, Any], done: object) -> WidgetPage:
    """The answer as read; `done` is what comes of the command, or the error that it raises."""

    def carry_out(_: Mapping[str, Any]) -> Any:
        if isinstance(done, Exception):
            raise done
        return done

    return WidgetPage(answer_on_dashboard(event, carry_out, NOW, ZONE))


def test_an_approval_tells_what_was_decided_and_what_comes() -> None:
    """For what, by whom, when, with which note, and what happens to the patrons now."""
    page = answered(pressed(by="Ana"), decided())
    assert page.texts["h2"] == ["Approved"]
    assert page.says("The purge of 12 patrons at Ashland (01OHIO_AAA)")
    assert page.says("Approved by Ana <b>Systems</b> on Mon, Nov 23, 2026, 12:00 (America/New_York): looked & found.")
    assert page.says(
        "each of the 12 patrons is read and judged once more, and whom nothing speaks against by then is deleted"
    )
    assert page.says("refresh the dashboard")


@pytest.mark.parametrize(
    ("action", "told"),
    [
        (Action.DEACTIVATE, "is made INACTIVE"),
        (Action.REINSTATE, "is made ACTIVE again"),
        (Action.RESTORE, "is made anew"),
    ],
)
def test_an_approval_tells_what_its_action_does(action: Action, told: str) -> None:
    """Nobody is told of a deletion where nobody is deleted."""
    page = answered(pressed(by="Ana"), decided(action=action))
    assert page.says(told)
    assert not page.says("deleted")


def test_a_rejection_tells_that_nobody_was_changed() -> None:
    """And that the run is over."""
    page = answered(pressed({**APPROVE, "command": "reject"}, by="Ana"), decided(Answer.REJECTED))
    assert page.texts["h2"] == ["Rejected"]
    assert page.says("Nobody was changed, and the run has ended here.")


def test_another_command_is_answered_with_its_document() -> None:
    """As it would be without a dashboard, to be read."""
    page = answered(pressed({"command": "status"}), {"held": [], "runs": [{"run_id": HOSTILE, "name": "Größe"}]})
    assert json.loads(page.texts["pre"][0]) == {"held": [], "runs": [{"run_id": HOSTILE, "name": "Größe"}]}


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (InvalidEvent(f"run_id: {HOSTILE} is not held\nLook at its status"), f"run_id: {HOSTILE} is not held"),
        (RegistryError([f"institutions[0].name: is {HOSTILE}"]), f"- institutions[0].name: is {HOSTILE}"),
    ],
)
def test_a_mistake_is_told_in_html(error: Exception, told: str) -> None:
    """With what an event's error says, line by line, and that nothing was done."""
    page = answered(pressed(by="Ana"), error)
    assert page.texts["h3"] == ["Nothing was done"]
    assert page.says(told)


def test_trouble_is_told_without_its_text(caplog: pytest.LogCaptureFixture) -> None:
    """It isn't claimed that nothing was done, and whatever the error holds is neither shown nor logged."""
    page = answered(pressed(by="Ana"), LookupError("fern.arno"))
    assert page.texts["h3"] == ["Something went wrong"]
    assert page.says("a LookupError, and it isn't known how far it came. Refresh the dashboard")
    assert not page.says("fern.arno")
    (line,) = caplog.records
    assert (line.levelname, vars(line)["error"]) == ("ERROR", "LookupError")
    assert "fern.arno" not in str(vars(line))


@pytest.mark.parametrize(
    ("command", "button"),
    [("approve", "Approve"), ("reject", "Reject"), ("stop_all", "Stop all"), ("cancel", "Cancel")],
)
@pytest.mark.parametrize("by", [None, "", "  ", "\n\u202e", 5, ["Ana"], {"name": "Ana"}])
def test_without_a_name_nothing_is_done(command: str, button: str, by: object) -> None:
    """One clear sentence says what is missing and what to do; what isn't text is no name."""
    form = {} if by is None else {"by": by}
    page = answered(pressed({"command": command}, **form), AssertionError("carried out"))
    assert page.says(f"Fill in who decides, then press {button} again.")
    assert page.texts["h3"] == ["Nothing was done"]


@pytest.mark.parametrize(
    "context",
    [None, 5, "dark", [], {}, {"forms": None}, {"forms": []}, {"forms": {"all": None}}, {"forms": {"all": ["by"]}}],
)
def test_a_context_of_another_shape_is_a_form_without_a_name(context: object) -> None:
    """Whatever CloudWatch sends there, the answer is the one sentence."""
    event = {**APPROVE, "widgetContext": context}
    assert is_from_dashboard(event)
    with pytest.raises(InvalidEvent, match="Fill in who decides"):
        filled_in(event)
    assert WidgetPage(answer_on_dashboard(event, lambda _: {}, NOW)).says("Fill in who decides")


def test_what_is_filled_in_becomes_part_of_the_event() -> None:
    """Name and note, in one line each; the result is an event that the operator takes."""
    event = filled_in(pressed(by="  Ana\nSystems ", note=" looked\tat the list ", other="x"))
    taken = parse_operator(event)
    assert taken == parse_operator({**APPROVE, "by": "Ana Systems", "note": "looked at the list"})


def test_what_the_event_says_itself_goes_before_the_form() -> None:
    """Only what is missing comes from the form."""
    event = filled_in(pressed({**APPROVE, "by": "Ben", "note": "his"}, by="Ana", note="hers"))
    assert (event["by"], event["note"]) == ("Ben", "his")


@pytest.mark.parametrize("command", ["status", "tidy", "check", "no such command", None, 5])
def test_commands_that_nobody_signs_take_nothing_from_the_form(command: object) -> None:
    """A field that happens to be filled in doesn't make their events invalid."""
    event = pressed({"command": command}, by="Ana", note="x")
    assert filled_in(event) == event


def test_cancel_takes_the_name_alone() -> None:
    """It knows no note."""
    event = filled_in(pressed({"command": "cancel", "run_id": "purge-1"}, by="Ana", note="x"))
    assert "note" not in event
    assert parse_operator(event) == parse_operator({"command": "cancel", "run_id": "purge-1", "by": "Ana"})


def test_a_huge_name_is_refused_by_the_event() -> None:
    """Its limit holds for the form as well, and the answer stays small."""
    event = pressed(by="Ana" * 500_000, note="x" * 1_000_000)

    def carry_out(given: Mapping[str, Any]) -> dict[str, Any]:
        parse_operator(given)
        raise AssertionError("taken")

    told = answer_on_dashboard(event, carry_out, NOW)
    assert WidgetPage(told).says("by: is")
    assert "at most 100 characters" in told
    assert len(told) < 5000


def test_only_what_has_a_context_is_from_a_dashboard() -> None:
    """A plain event is answered as before."""
    assert not is_from_dashboard(APPROVE)
    assert not is_from_dashboard(None)
    assert not is_from_dashboard(["widgetContext"])


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@given(JSON, JSON, JSON)
def test_no_form_makes_the_answer_anything_but_html(by: object, note: object, command: object) -> None:
    """Whatever is sent, a person reads a page: what was done, or what is wrong."""
    context = {"forms": {"all": {"by": by, "note": note}}}
    event = {"command": command, "run_id": by, "institution": note, "widgetContext": context}

    def carry_out(given: Mapping[str, Any]) -> Any:
        return {"taken": parse_operator(given).model_dump(mode="json")}

    assert WidgetPage(answer_on_dashboard(event, carry_out, NOW + timedelta(1))).visible.strip()
