"""A purge in one institution from its first message to its end, against the simulated Alma and its judge."""

from collections import Counter
from collections.abc import Callable
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import pytest

from patron_lifecycle.alma.errors import Unavailable
from patron_lifecycle.policy.reasons import Action, Outcome
from patron_lifecycle.runs.model import InstitutionRun, Status
from patron_lifecycle.vault import VaultRefused, VaultUnavailable
from sandbox.simulator.institutions import SimulatedSet
from sandbox.simulator.judge import Terms, WriteJudge
from sandbox.simulator.messages import Fault, Reply, Request, error, general_error, json_reply
from sandbox.simulator.patrons import identifier, note, record, role
from tests.samples import returned
from tests.workbench import TODAY, Killed, Workbench

CODE = "01OHIO_AAA"
USER = "/users/{user_id}"
SET = "To purge"
GONE = date(2020, 5, 31)  # an expiry date long past retention


def registry(
    select: str = f'{{set_name: "{SET}"}}', more: str = "first_run: apply", *, caps: str = "max_percent: 100"
) -> str:
    """A registry of one institution that purges; `more` stands in its purge policy."""
    purge = f"{{select: {select}, {caps}{', ' if more else ''}{more}}}"
    head = f"institutions:\n  - code: {CODE}\n    name: Alder\n    region: na\n    time_zone: America/New_York\n"
    return f"{head}    policy:\n      purge: {purge}\n"


def gone(primary_id: str, **changes: object) -> dict[str, Any]:
    """A patron whom nothing keeps from being purged."""
    usual: dict[str, object] = {
        "expiry_date": GONE,
        "purge_date": date(2023, 5, 31),
        "status": "INACTIVE",
        "status_date": date(2020, 6, 8),
        "loans": 0,
        "requests": 0,
        "fees": 0.0,
    }
    return record(primary_id, **(usual | changes))


def purging(
    *records: dict[str, Any], registered: str = "", listed: tuple[str, ...] | None = None, **more: Any
) -> Workbench:
    """A workbench whose institution has these patrons, all of them in the set to purge unless `listed` says who."""
    bench = Workbench(registered or registry(), users=0, **more)
    institution = bench.alma.institution(CODE)
    institution.users = {one["primary_id"].casefold(): one for one in records}
    members = tuple(one["primary_id"] for one in records) if listed is None else listed
    institution.sets = [SimulatedSet("11", SET, members=members)]
    return bench


def add_set(bench: Workbench, name: str, *members: str) -> SimulatedSet:
    """One more itemized set of users."""
    institution = bench.alma.institution(CODE)
    chosen = SimulatedSet(str(11 + len(institution.sets)), name, members=members)
    institution.sets.append(chosen)
    return chosen


def purge(bench: Workbench, **event: Any) -> InstitutionRun:
    """A purge to apply, worked on until nothing goes on by itself."""
    return bench.run(action="purge", **event)


def left(bench: Workbench) -> set[str]:
    """The primary ids of all who are still in Alma."""
    return {one["primary_id"] for one in bench.alma.institution(CODE).users.values()}


def reasons(bench: Workbench, run: InstitutionRun) -> dict[str, str]:
    """Each candidate's reason, or its outcome where there is none."""
    return {key: row.reason or row.outcome.value for key, row in bench.outcomes(run.run_id).items()}


def generated(bench: Workbench, *, day: date = TODAY) -> WriteJudge:
    """A judge of the purge of the standard institution's set."""
    institution = bench.alma.institution(CODE)
    members = [one["primary_id"] for one in institution.members(institution.set_named("OHIONET purge"), TODAY)]
    return WriteJudge(institution, Terms("purge", day), candidates=members)


# ── Who goes ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_set_is_purged_and_the_judge_agrees() -> None:
    """Of the standard institution's set those go whom nothing keeps, archived before; all others stay, with why."""
    bench = Workbench(registry('{set_name: "OHIONET purge"}'), users=1500)
    judge = generated(bench)
    run = purge(bench)
    rows = [(key, row.outcome.value, row.reason, row.detail) for key, row in bench.outcomes(run.run_id).items()]
    assert run.status is Status.COMPLETED
    assert judge.wrongs == []
    assert judge.check_outcomes(rows) == []
    assert judge.check_reasons(rows) == []
    purged = {key for key, row in bench.outcomes(run.run_id).items() if row.outcome is Outcome.PURGED}
    assert len(purged) == run.outcomes[Outcome.PURGED] > 50
    assert bench.vault.kept() == purged
    assert not purged & left(bench)
    assert {"staff", "linked_account", "still_active", "loans", "fees", "requests"} <= set(run.reasons)


def test_a_preview_names_who_would_go_and_nobody_does() -> None:
    """Preview and apply agree patron by patron; the preview makes no write, archives nothing, and is never held."""
    bench = Workbench(registry('{set_name: "OHIONET purge"}'), users=600)
    preview = purge(bench, mode="preview")
    assert preview.status is Status.COMPLETED
    assert {method for _, method, _ in bench.alma.calls} == {"GET"}
    assert bench.vault.archives == {}
    would = {key for key, told in reasons(bench, preview).items() if told == "would_purge"}
    applied = purge(bench)
    assert would == {key for key, told in reasons(bench, applied).items() if told == "purged"}
    assert len(would) > 20


KEPT: dict[str, tuple[dict[str, object], str]] = {
    "not expired": ({"expiry_date": TODAY}, "not_expired"),
    "renewed since": ({"expiry_date": date(2030, 1, 1)}, "not_expired"),
    "within the three years": ({"expiry_date": date(2023, 11, 23)}, "within_retention"),
    "staff by record type": ({"record_type": "STAFF"}, "staff"),
    "staff by role": ({"user_role": [role("200"), role("26")]}, "staff"),
    "linked copy": ({"source_institution_code": "01OHIO_ZZZ"}, "linked_account"),
    "no expiry date": ({"expiry_date": None}, "no_expiry_date"),
    "never deactivated": ({"status": "ACTIVE"}, "still_active"),
    "deactivated this morning": ({"status_date": TODAY}, "inactive_too_short"),
    "purge date ahead": ({"purge_date": TODAY + timedelta(days=1)}, "purge_date_ahead"),
    "a loan": ({"loans": 1}, "loans"),
    "a request": ({"requests": 2}, "requests"),
    "a debt": ({"fees": 0.01}, "fees"),
    "a credit": ({"fees": -4.0}, "fees"),
}
GOES: dict[str, dict[str, object]] = {
    "plain": {},
    "purge date before expiry": {"purge_date": date(2019, 1, 1)},
    "no purge date": {"purge_date": None},
    "internal with external login": {"account_type": "INTEXTAUTH"},
    "external": {"account_type": "EXTERNAL", "external_id": "SIS"},
}


def test_a_set_full_of_patrons_who_must_not_go_deletes_none_of_them() -> None:
    """Each stays for its own reason, those with nothing against them go, and the report's counts say so."""
    records = [gone(f"kept {name}", **changes) for name, (changes, _) in KEPT.items()]
    records += [gone(f"goes {name}", **changes) for name, changes in GOES.items()]
    bench = purging(*records)
    run = purge(bench)
    assert reasons(bench, run) == {f"kept {name}": reason for name, (_, reason) in KEPT.items()} | {
        f"goes {name}": "purged" for name in GOES
    }
    assert left(bench) == {f"kept {name}" for name in KEPT}
    assert run.outcomes == {Outcome.SKIPPED: 10, Outcome.BLOCKED: 4, Outcome.PURGED: 5}


@pytest.mark.parametrize(
    "odd",
    ["a#b", "a/b", "a@b.edu", "a b", "50%", "100%25", "a+b", "a?b=c", "a&b", "Größe", "ß", "日本", "a%2Fb", "…", "a;b"],
)
def test_odd_ids_reach_their_own_patron_and_no_other(odd: str) -> None:
    """Whatever is in an id, it is that patron who is read and deleted; the neighbours with like ids stay."""
    neighbours = [gone(f"x{odd}"), gone(f"{odd}x"), gone("a"), gone("b"), gone("50"), gone("100%")]
    bench = purging(gone(odd), *(one for one in neighbours if one["primary_id"] != odd), listed=(odd,))
    before = left(bench)
    run = purge(bench)
    assert reasons(bench, run) == {odd: "purged"}
    assert left(bench) == before - {odd}


def test_contacts_and_dots_are_never_asked_for() -> None:
    """Ids that a URL would turn into another call are unverifiable, and no call is made for them."""
    bench = purging(gone("."), gone(".."), gone("fine"), listed=(".", "..", "fine"))
    run = purge(bench)
    assert reasons(bench, run) == {".": "unverifiable", "..": "unverifiable", "fine": "purged"}


def test_a_lookup_that_returns_another_person_deletes_nobody() -> None:
    """An id that is only somebody's barcode by now finds that person, who is left alone."""
    bench = purging(gone("fern"), gone("reed", user_identifier=[identifier("BARCODE", "fern")]), listed=("fern",))

    def gone_by_now(request: Request) -> None:
        if request.route == USER:
            bench.alma.institution(CODE).users.pop("fern", None)

    bench.alma.faults.append(gone_by_now)
    run = purge(bench)
    assert reasons(bench, run) == {"fern": "identity_mismatch"}
    assert left(bench) == {"reed"}


@pytest.mark.parametrize("code", ["401861", "401890"])
def test_who_is_gone_already_is_not_found(code: str) -> None:
    """Both of Alma's ways to say so are HTTP 400; nothing is deleted, and the run goes on."""
    bench = purging(gone("fern"), gone("reed"))
    missing = Fault(reply=error(code, "User with identifier fern was not found."))
    bench.alma.faults.append(lambda request: missing if request.arguments.get("user_id") == "fern" else None)
    run = purge(bench)
    assert reasons(bench, run) == {"fern": "not_found", "reed": "purged"}
    assert bench.alma.calls[CODE, "DELETE", USER] == 1


def test_what_alma_refuses_to_delete_is_blocked_with_alma_s_words() -> None:
    """401850 blocks the patron and is told word for word with its tracking id; others are deleted."""
    bench = purging(gone("fern"), gone("reed"))
    bench.alma.institution(CODE).undeletable = {"fern"}
    run = purge(bench)
    row = bench.outcomes(run.run_id)["fern"]
    assert (row.outcome, row.reason) == (Outcome.BLOCKED, "alma_refused")
    assert row.detail.startswith("Failed to delete user with identifier fern")
    assert "tracking id E01-" in row.detail
    assert reasons(bench, run)["reed"] == "purged"


def test_any_other_refusal_is_failed_with_its_code() -> None:
    """A code that says nothing of what is tied to the patron is an error to look at."""
    bench = purging(gone("fern"), gone("reed"))
    refused = Fault(reply=error("401652", "General error"))
    odd = Fault(reply=error("60331", "Not now"))
    bench.alma.faults.append(
        lambda request: (
            {"fern": odd, "reed": refused}.get(request.arguments.get("user_id", ""))
            if request.method == "DELETE"
            else None
        )
    )
    run = purge(bench)
    rows = bench.outcomes(run.run_id)
    assert {key: (row.outcome.value, row.reason) for key, row in rows.items()} == {
        "fern": ("failed", "alma_60331"),
        "reed": ("failed", "unconfirmed"),
    }


@pytest.mark.parametrize("what", ["loans", "requests", "fees"])
def test_a_count_that_is_not_there_is_unverifiable(what: str) -> None:
    """A key that sees only some libraries' loans gets null for a count: that is never taken for zero."""
    bench = purging(gone("fern"))
    shown = {**gone("fern"), what: None}
    bench.alma.faults.append(lambda request: Fault(reply=json_reply(200, shown)) if request.route == USER else None)
    run = purge(bench)
    row = bench.outcomes(run.run_id)["fern"]
    assert (row.reason, row.detail) == ("unverifiable", f"{what} can't be read")
    assert bench.alma.calls[CODE, "DELETE", USER] == 0


def test_fees_up_to_the_tolerance_are_waived() -> None:
    """What is owed, or in credit, counts to the cent against waive_fees_up_to."""
    bench = purging(
        gone("a", fees=0.3),
        gone("b", fees=0.31),
        gone("c", fees=-0.3),
        gone("d", fees=-0.31),
        gone("e", fees=0),
        registered=registry(more="first_run: apply, waive_fees_up_to: 0.3"),
    )
    run = purge(bench)
    assert {key for key, told in reasons(bench, run).items() if told == "purged"} == {"a", "c", "e"}
    assert bench.outcomes(run.run_id)["b"].detail == "owes 0.31"


@pytest.mark.parametrize("what", ["loans", "requests", "fees"])
def test_what_appears_between_selection_and_delete_blocks(what: str) -> None:
    """A loan, fee or request that comes after the manifest was frozen is seen by the fresh read."""
    bench = purging(*(gone(f"patron {number}") for number in range(60)), seconds=8, one_thread=True)
    started = bench.start(action="purge")
    bench.slice(bench.queue.messages.popleft())
    run = bench.institution_run(started.run_id)
    assert run.status is Status.PROCESSING
    last = bench.store.page(run.run_id, CODE, run.pages - 1).ids[-1]
    bench.alma.institution(CODE).users[last.casefold()][what] = {"value": 3}
    bench.drain()
    assert reasons(bench, bench.institution_run(started.run_id))[last] == what
    assert left(bench) == {last}


def test_who_was_brought_back_stays_for_180_days() -> None:
    """Patrons whom this service brought back are left alone, unless their expiry date was changed since."""
    bench = purging(gone("fern"), gone("reed"), gone("sage"), gone("willow"))
    for primary_id, days, expiry in (("FERN", 179, GONE), ("reed", 180, GONE), ("sage", 10, date(2019, 1, 1))):
        bench.store.put_returned([returned(primary_id, on=TODAY - timedelta(days=days), expiry_date=expiry)])
    run = purge(bench)
    assert reasons(bench, run) == {"fern": "restored", "reed": "purged", "sage": "purged", "willow": "purged"}


# ── Where candidates come from, and who stays out ─────────────────────────────────────────────────────────────────────


def test_a_sweep_purges_without_a_set() -> None:
    """Swept users who pass dates and status are candidates; the others are counted as seen alone."""
    bench = purging(
        gone("fern"),
        gone("loaned", loans=1),
        gone("current", expiry_date=date(2030, 1, 1)),
        gone("active", status="ACTIVE"),
        registered=registry("{sweep: true}"),
    )
    run = purge(bench)
    assert (run.seen, run.candidates) == (4, 2)
    assert reasons(bench, run) == {"fern": "purged", "loaned": "loans"}


def test_sets_can_include_and_what_is_excluded_wins() -> None:
    """Members of also_select sets are candidates too, each once; who is also excluded stays."""
    more = 'first_run: apply, also_select: {set_names: ["Also", "More"]}, exclude: {set_names: ["Keep"]}'
    bench = purging(*(gone(name) for name in "abcde"), registered=registry(more=more), listed=("a", "b"))
    add_set(bench, "Also", "B", "c")
    add_set(bench, "More", "c", "d")
    add_set(bench, "Keep", "d", "a")
    run = purge(bench)
    assert (run.seen, run.candidates) == (4, 4)
    assert reasons(bench, run) == {"a": "excluded_set", "b": "purged", "c": "purged", "d": "excluded_set"}
    assert left(bench) == {"a", "d", "e"}


def test_a_sweep_can_be_widened_by_a_set() -> None:
    """A sweep's candidates and the set's members are judged; the number of all users is the sweep's."""
    bench = purging(
        gone("fern"),
        gone("active", status="ACTIVE"),
        registered=registry("{sweep: true}", more='first_run: apply, also_select: {set_ids: ["12"]}'),
    )
    add_set(bench, "Also", "active", "fern")
    run = purge(bench)
    assert (run.seen, run.candidates, run.all_users) == (2, 2, 2)
    assert reasons(bench, run) == {"fern": "purged", "active": "still_active"}


def test_every_way_to_protect_somebody_protects() -> None:
    """By set, by several sets, by any identifier in whatever case, by group, note and record type."""
    more = (
        'first_run: apply, exclude: {set_ids: ["12"], set_names: ["Keep too"], user_groups: [community], '
        'note_contains: ["do not purge"]}'
    )
    bench = purging(
        gone("by id"),
        gone("by second set"),
        gone("by barcode", user_identifier=[identifier("BARCODE", "bc-77")]),
        gone("by group", user_group="COMMUNITY"),
        gone("by note", user_note=[note("Please DO NOT PURGE: donor", TODAY)]),
        gone("by type", record_type="VENDOR"),
        gone("goes"),
        registered=registry(more=more) + "      protect: {record_types: [vendor]}\n",
    )
    add_set(bench, "Keep", "BY ID")
    add_set(bench, "Keep too", "by second set")
    barcode = {"member": [{"id": "BC-77", "link": "https://alma.example.edu/almaws/v1/users/BY%20ID"}]}
    bench.alma.faults.append(
        lambda request: (
            Fault(reply=json_reply(200, barcode | {"total_record_count": 1}))
            if request.arguments.get("set_id") == "12" and request.route.endswith("members")
            else None
        )
    )
    run = purge(bench)
    assert reasons(bench, run) == {
        "by id": "excluded_set",
        "by second set": "excluded_set",
        "by barcode": "excluded_set",
        "by group": "excluded_group",
        "by note": "excluded_note",
        "by type": "staff",
        "goes": "purged",
    }


@pytest.mark.parametrize("trouble", ["gone", "of items", "announces more", "lists twice", "shrinks", "grows"])
@pytest.mark.parametrize("which", ["selection", "exclusion"])
def test_a_doubtful_set_stops_the_institution_before_anything_changes(trouble: str, which: str) -> None:
    """A set that is missing, of another content, or that can't be read twice alike ends the run as failed."""
    more = 'first_run: apply, exclude: {set_names: ["Keep"]}'
    bench = purging(*(gone(f"p{number}") for number in range(250)), registered=registry(more=more))
    keep = add_set(bench, "Keep", *(f"p{number}" for number in range(150)))
    chosen = bench.alma.institution(CODE).sets[0] if which == "selection" else keep
    spoil(bench, chosen, trouble)
    run = purge(bench)
    assert run.status is Status.FAILED
    assert run.status_reason
    assert not bench.alma.institution(CODE).writes


def spoil(bench: Workbench, chosen: SimulatedSet, trouble: str) -> None:
    """Make a set doubtful."""
    reads = [0]

    def each_read(change: Callable[[], None]) -> None:
        def judge(request: Request) -> None:
            if request.arguments.get("set_id") == chosen.id and request.route.endswith("members"):
                reads[0] += 1
                change()

        bench.alma.faults.append(judge)

    match trouble:
        case "gone":
            bench.alma.institution(CODE).sets.remove(chosen)
        case "of items":
            chosen.content = "ITEM"
        case "announces more":
            chosen.members = (*chosen.members,)
            page = {"member": [], "total_record_count": 999}
            bench.alma.faults.append(
                lambda request: (
                    Fault(reply=json_reply(200, page))
                    if request.arguments.get("set_id") == chosen.id
                    and request.route.endswith("members")
                    and request.query.get("offset") != "0"
                    else None
                )
            )
        case "lists twice":
            chosen.members = (*chosen.members, chosen.members[0])
        case "shrinks":
            each_read(lambda: setattr(chosen, "members", chosen.members[:-1]))
        case "grows":
            each_read(lambda: setattr(chosen, "members", (*chosen.members, f"p{249 - reads[0]}")))


def test_who_joins_an_exclusion_set_during_the_run_stays() -> None:
    """Exclusion sets are read again at the start of every slice."""
    more = 'first_run: apply, exclude: {set_names: ["Keep"]}'
    bench = purging(*(gone(f"p{n}") for n in range(60)), registered=registry(more=more), seconds=8, one_thread=True)
    keep = add_set(bench, "Keep", "somebody else")
    started = bench.start(action="purge")
    bench.slice(bench.queue.messages.popleft())
    run = bench.institution_run(started.run_id)
    assert run.status is Status.PROCESSING
    last = bench.store.page(run.run_id, CODE, run.pages - 1).ids[-1]
    keep.members = (last,)
    bench.drain()
    assert reasons(bench, bench.institution_run(started.run_id))[last] == "excluded_set"
    assert left(bench) == {last}


def test_an_exclusion_set_that_goes_missing_during_the_run_stops_it() -> None:
    """What was done is told, the rest is not attempted, and what to mend is said."""
    more = 'first_run: apply, exclude: {set_names: ["Keep"]}'
    bench = purging(*(gone(f"p{n}") for n in range(60)), registered=registry(more=more), seconds=8, one_thread=True)
    add_set(bench, "Keep", "p3")
    started = bench.start(action="purge")
    bench.slice(bench.queue.messages.popleft())
    bench.alma.institution(CODE).sets.pop()
    bench.drain()
    run = bench.institution_run(started.run_id)
    assert run.status is Status.FAILED
    assert 'no set of users is named "Keep"' in run.status_reason
    assert run.outcomes[Outcome.PURGED] == len(bench.alma.institution(CODE).writes) > 0
    assert run.reasons["not_attempted"] > 0
    assert sum(run.outcomes.values()) == 60


# ── The vault ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_every_page_is_archived_before_its_first_delete() -> None:
    """At each delete the record is in the vault already, whole, with its counts, under the policy's days."""
    bench = purging(
        *(gone(f"p{n}", loans=int(n == 7)) for n in range(120)),
        registered=registry(more="first_run: apply, vault_days: 90"),
    )
    seen: list[bool] = []

    def watch(request: Request) -> None:
        if request.method == "DELETE":
            seen.append(request.arguments["user_id"] in bench.vault.kept())

    bench.alma.faults.append(watch)
    run = purge(bench)
    assert len(seen) == 119
    assert all(seen)
    assert {archive.vault_days for archive in bench.vault.archives.values()} == {90}
    assert bench.vault.kept() == {f"p{n}" for n in range(120)} - {"p7"}
    archive = next(iter(bench.vault.archives.values()))
    assert archive.key == f"{CODE}/{run.run_id}/page-00000.1-1.jsonl.gz"
    assert archive.records[0]["loans"]["value"] == 0
    assert archive.records[0]["user_role"], "nothing is left out"


def test_without_vault_days_nothing_is_kept_and_the_preview_says_so() -> None:
    """vault_days 0 switches the vault off for an institution."""
    bench = purging(gone("fern"), registered=registry(more="first_run: apply, vault_days: 0"))
    assert purge(bench, mode="preview").status_reason == (
        "vault_days is 0: a real run would keep no copy of the records that it deletes."
    )
    assert purge(bench).outcomes == {Outcome.PURGED: 1}
    assert bench.vault.archives == {}


def test_a_vault_that_refuses_ends_the_run_with_nobody_deleted() -> None:
    """Without its archive no page is purged; who was left over is not attempted."""
    bench = purging(gone("fern"), gone("reed", loans=1))

    def refuse() -> None:
        raise VaultRefused("the vault could not be written (S3 answered AccessDenied)")

    bench.vault.before_put = refuse
    run = purge(bench)
    assert run.status is Status.FAILED
    assert "AccessDenied" in run.status_reason
    assert run.reasons == {"not_attempted": 2}
    assert bench.alma.calls[CODE, "DELETE", USER] == 0


def test_a_vault_that_is_away_for_a_while_is_waited_for() -> None:
    """The page is left for a later slice, and nobody is deleted before it is archived."""
    bench = purging(gone("fern"))
    times = [0]

    def away() -> None:
        times[0] += 1
        if times[0] <= 2:
            raise VaultUnavailable("the vault could not be written (S3 answered SlowDown)")

    bench.vault.before_put = away
    run = purge(bench)
    assert run.status is Status.COMPLETED
    assert run.outcomes == {Outcome.PURGED: 1}
    assert run.slices > 1


# ── Truth about what was done ─────────────────────────────────────────────────────────────────────────────────────────


def lose_answers(bench: Workbench, *, carried_out: bool, reply: Reply | None = None) -> None:
    """Let no DELETE be answered usably."""
    fault = Fault(carried_out=carried_out, lost=None if reply else "timeout", reply=reply)
    bench.alma.faults.append(lambda request: fault if request.method == "DELETE" else None)


def test_a_delete_whose_answer_is_lost_is_read_back() -> None:
    """Alma did it, the reply was lost: purged, told as recovered, and sent once."""
    bench = purging(gone("fern"))
    lose_answers(bench, carried_out=True)
    run = purge(bench)
    row = bench.outcomes(run.run_id)["fern"]
    assert row.outcome is Outcome.PURGED
    assert row.detail.startswith("recovered: Alma's answer was lost")
    assert bench.alma.calls[CODE, "DELETE", USER] == 1


def test_a_lost_answer_is_read_back_though_the_id_means_somebody_else_by_then() -> None:
    """Once gone, the id is another patron's barcode: that patron is read, left alone, and the first one was purged."""
    bench = purging(gone("fern"), gone("reed", user_identifier=[identifier("BARCODE", "fern")], status="ACTIVE"))
    lose_answers(bench, carried_out=True)
    run = purge(bench)
    assert reasons(bench, run) == {"fern": "purged", "reed": "still_active"}
    assert left(bench) == {"reed"}


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (None, "unconfirmed"),
        (Reply(504, {}, b"<html>"), "unconfirmed"),
        (Reply(200, {}, b"<html>"), "unconfirmed"),
        (general_error(), "unconfirmed"),
    ],
)
def test_an_unclear_delete_that_was_not_done_is_never_sent_again(reply: Reply | None, reason: str) -> None:
    """The patron is found unchanged: failed, with what is known, one DELETE; the next run takes them."""
    bench = purging(gone("fern"))
    lose_answers(bench, carried_out=False, reply=reply)
    run = purge(bench)
    row = bench.outcomes(run.run_id)["fern"]
    assert (row.outcome, row.reason) == (Outcome.FAILED, reason)
    assert run.status is Status.COMPLETED
    assert bench.alma.calls[CODE, "DELETE", USER] == 1
    bench.alma.faults.clear()
    assert purge(bench).outcomes == {Outcome.PURGED: 1}


def test_a_delete_after_a_429_is_sent_again() -> None:
    """By 429 Alma says that it did nothing: the delete goes out once more, and counts once."""
    bench = purging(*(gone(f"p{n}") for n in range(10)))
    refused: list[Request] = []

    def throttle(request: Request) -> Fault | None:
        if request.method == "DELETE" and len(refused) < 3:
            refused.append(request)
            return Fault(reply=error("PER_SECOND_THRESHOLD", "too many", status=429))
        return None

    bench.alma.faults.append(throttle)
    run = purge(bench)
    assert run.outcomes == {Outcome.PURGED: 10}
    assert run.throttled == 3


def test_who_was_deleted_right_before_the_worker_died_is_purged() -> None:
    """The next slice doesn't find them: purged, flagged recovered; not `already gone`."""
    bench = purging(*(gone(f"p{n}") for n in range(20)), one_thread=True)
    started = bench.start(action="purge")

    def die_after_seven() -> None:
        if len(bench.alma.institution(CODE).writes) >= 7:
            raise Killed

    bench.before_call = bench.after_call = die_after_seven  # each thread of a killed process ends
    message = bench.queue.messages.popleft()
    with pytest.raises(Killed):
        bench.slice(message)
    bench.before_call = bench.after_call = lambda: None
    bench.queue.messages.append(message)
    bench.drain()
    run = bench.institution_run(started.run_id)
    assert run.outcomes == {Outcome.PURGED: 20}
    recovered = [row for row in bench.outcomes(run.run_id).values() if row.detail.startswith("recovered")]
    assert len(recovered) == 7


def test_who_was_gone_before_this_run_wrote_is_not_found() -> None:
    """Staff delete a patron while the worker is dead, in a page that was never begun: not this run's doing."""
    bench = purging(*(gone(f"p{n}") for n in range(20)), one_thread=True)
    started = bench.start(action="purge")

    def die_before_the_archive() -> None:
        raise Killed

    bench.vault.before_put = die_before_the_archive
    message = bench.queue.messages.popleft()
    with pytest.raises(Killed):
        bench.slice(message)
    del bench.alma.institution(CODE).users["p4"]
    bench.vault.before_put = lambda: None
    bench.queue.messages.append(message)
    bench.drain()
    run = bench.institution_run(started.run_id)
    assert run.reasons == {"not_found": 1}
    assert run.outcomes == {Outcome.PURGED: 19, Outcome.SKIPPED: 1}


def test_an_outage_in_the_middle_of_deleting_ends_in_the_truth() -> None:
    """Alma goes down with deletes under way, some done and some not: all are told right in the end."""
    bench = purging(*(gone(f"p{n}") for n in range(40)))
    is_down = [False]
    bench.before_call = lambda: is_down.__setitem__(0, is_down[0] or len(bench.alma.institution(CODE).writes) > 9)

    def down(request: Request) -> Fault | None:
        if not is_down[0] or not request.route.startswith("/users"):
            return None
        number = int(request.arguments.get("user_id", "p0")[1:])
        return Fault(carried_out=request.method == "DELETE" and number % 2 == 0, reply=general_error())

    bench.alma.faults.append(down)
    started = bench.start(action="purge")
    try:
        bench.slice(bench.queue.messages.popleft())
    except Unavailable:
        bench.queue.messages.append(bench.queue.sent[-1])
    bench.before_call = lambda: None
    is_down[0] = False
    bench.drain()
    run = bench.institution_run(started.run_id)
    assert run.status is Status.COMPLETED
    purged = {key for key, row in bench.outcomes(run.run_id).items() if row.outcome is Outcome.PURGED}
    assert left(bench) == {f"p{n}" for n in range(40)} - purged
    deletes = Counter(write.primary_id for write in bench.alma.institution(CODE).writes)
    assert set(deletes.values()) == {1}


def test_calls_per_patron_stay_within_the_design_s_figure() -> None:
    """A thousand patrons by set cost 2.02 calls each at most, archive included, where no guard asks for decisions."""
    bench = purging(
        *(gone(f"p{n}") for n in range(1000)), registered=registry(caps="max_patrons: 1000, max_percent: 100")
    )
    run = purge(bench)
    assert run.outcomes == {Outcome.PURGED: 1000}
    assert run.calls == bench.alma.calls.total()
    assert run.calls <= 2020


def test_the_terms_of_the_judge_are_those_of_the_default_policy() -> None:
    """What the judge holds a purge to by default is what the policy's defaults say."""
    policy = Workbench(registry(), users=0).store.institutions()[0].policy.of(Action.PURGE)
    terms = Terms("purge", TODAY)
    assert policy is not None
    for name in ("retention_years", "require_inactive", "min_inactive_days", "respect_purge_date"):
        assert getattr(policy, name) == getattr(terms, name)
    assert Decimal(str(policy.model_dump()["waive_fees_up_to"])) == terms.waive_fees_up_to
