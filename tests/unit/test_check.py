"""Whether institutions are ready: every finding is told, in words, and nothing is changed by looking."""

import json
import re
import threading
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from patron_lifecycle.alma.client import AlmaClient
from patron_lifecycle.check import CHECK_SECONDS, Checker, Findings, NextRun, table
from patron_lifecycle.policy.reasons import Action
from patron_lifecycle.registry import Institution
from patron_lifecycle.runs.events import InvalidEvent
from patron_lifecycle.runs.model import Baseline, Budget
from patron_lifecycle.runs.store import MemoryStore
from patron_lifecycle.schedules import Schedule
from sandbox.simulator.institutions import SimulatedSet
from sandbox.simulator.messages import (
    Fault,
    Judge,
    Reply,
    Request,
    daily_threshold,
    error,
    general_error,
    json_reply,
    unauthorized,
)
from tests.samples import NOW
from tests.workbench import Workbench, registry_of

AAA, BBB, CCC = "01OHIO_AAA", "01OHIO_BBB", "01OHIO_CCC"
USERS = 1200
PREVIEWS = {
    Action.DEACTIVATE: Schedule("Mondays at 03:00", is_on=True),
    Action.PURGE: Schedule("on day 1 of the month at 05:00", is_on=True),
}
APPLIES = {action: schedule._replace(applies=True) for action, schedule in PREVIEWS.items()}
SWEEP = "deactivate: {select: {sweep: true}}"
PURGE = 'purge: {select: {set_name: "OHIONET purge"}}'


def registered(*policies: str, enabled: bool = True) -> str:
    """A registry of institutions with these policies: the first is 01OHIO_AAA, and so on."""
    entries = (
        f"  - {{code: {code}, name: Library, region: na, time_zone: America/New_York, enabled: {str(enabled).lower()}, "
        f"policy: {{{policy}}}}}\n"
        for code, policy in zip((AAA, BBB, CCC), policies, strict=False)
    )
    return "institutions:\n" + "".join(entries)


def bench_of(*policies: str, users: int = USERS, enabled: bool = True) -> Workbench:
    """A workbench with institutions of these policies."""
    return Workbench(registered(*policies, enabled=enabled), users=users)


class Mail:
    """A mail account with this trouble; whether it was asked."""

    def __init__(self, trouble: str) -> None:
        self._trouble = trouble

    def trouble(self) -> str:
        """See `MailAccount`."""
        return self._trouble


def check(
    bench: Workbench,
    *codes: str,
    schedules: Mapping[Action, Schedule] = PREVIEWS,
    seconds: float = 300,
    connect: Callable[[Institution, str], AlmaClient] | None = None,
    mail: str = "",
) -> dict[str, Any]:
    """Check these institutions, or all; `mail` is the trouble with mails."""

    def usual(one: Institution, key: str) -> AlmaClient:
        return bench.connect(one, key, 20)

    checker = Checker(
        bench.store, bench.keys, connect or usual, bench.time.clock, schedules, Mail(mail), bench.time.now
    )
    answer = checker.check(codes or None, seconds)
    assert json.loads(json.dumps(answer)) == answer, "an answer of Lambda is JSON"
    return answer


def found(bench: Workbench, code: str = AAA, **more: Any) -> dict[str, Any]:
    """What was found of one institution, when all are checked."""
    (one,) = [one for one in check(bench, **more)["institutions"] if one["institution"] == code]
    document: dict[str, Any] = one
    return document


def when(path: str, reply: Reply, method: str = "GET", institution: str = "") -> Judge:
    """A fault: whatever is asked of this route, of this institution or of all, gets this reply."""

    def judge(request: Request) -> Fault | None:
        hit = (request.method, request.route) == (method, path) and institution in ("", request.institution)
        return Fault(reply) if hit else None

    return judge


# ── Key, environment, rights ──────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("environment", ["sandbox", "production"])
def test_a_good_key_is_valid_and_its_environment_and_rights_are_told(environment: str) -> None:
    """Key, environment, rights and the number of users are told; without a problem the institution is ready."""
    bench = bench_of(SWEEP)
    bench.alma.institution(AAA).environment_type = environment
    one = found(bench)
    assert one["ready"] is True
    assert (one["key"], one["environment"], one["rights"]) == ("valid", environment, "read and write")
    assert (one["users"], one["users_told"]) == (USERS, "1,200")
    assert one["problems"] == one["warnings"] == []


def test_a_missing_secret_is_told_with_its_name() -> None:
    """Without a secret Alma isn't called, and the problem is what the secret's reader says."""
    bench = bench_of(SWEEP)
    del bench.keys[AAA]
    one = found(bench)
    assert (one["ready"], one["key"], one["environment"]) == (False, "no usable secret", "not known")
    assert one["problems"] == [f"secret test/{AAA} is missing: create it"]
    assert not bench.alma.calls


def test_a_key_that_alma_refuses_is_told() -> None:
    """An unknown key is refused; the problem says which rights a key needs, and never shows the key."""
    bench = bench_of(SWEEP)
    bench.keys[AAA] = "key-of-nobody"
    one = found(bench)
    assert (one["ready"], one["key"], one["rights"]) == (False, "refused", "not known")
    (problem,) = one["problems"]
    assert problem.startswith("Alma refuses the API key (HTTP 400, code UNAUTHORIZED)")
    assert "read/write rights on Users and read rights on Configuration" in problem
    assert "key-of-nobody" not in str(one)


def test_a_key_of_another_institution_is_told_with_that_one_s_code() -> None:
    """The wrong institution's key is a problem that names both, and nothing more is asked with it."""
    bench = bench_of(SWEEP, SWEEP)
    bench.keys[AAA] = bench.keys[BBB]
    one = found(bench)
    assert (one["ready"], one["key"]) == (False, f"of {BBB}")
    assert one["problems"] == [f"the API key belongs to {BBB}: store the key of {AAA} in its secret"]
    assert one["sets"] == []
    assert found(bench, BBB)["ready"]


def test_the_institution_s_code_counts_whatever_its_case() -> None:
    """Alma's spelling of the code may differ in capitals."""
    bench = bench_of(SWEEP)
    bench.alma.faults.append(
        when("/conf/general", json_reply(200, {"institution": {"value": AAA.lower()}, "environment_type": None}))
    )
    one = found(bench)
    assert (one["key"], one["environment"]) == ("valid", "Alma doesn't tell")


@pytest.mark.parametrize(("schedules", "fails"), [(PREVIEWS, False), (APPLIES, True)])
def test_a_key_that_may_only_read_is_told(schedules: Mapping[Action, Schedule], fails: bool) -> None:
    """Such an institution is not ready; whether its next run fails depends on whether that one is for real."""
    bench = bench_of(SWEEP)
    bench.alma.institution(AAA).read_only_keys = frozenset({"read-only"})
    bench.keys[AAA] = "read-only"
    one = found(bench, schedules=schedules)
    assert (one["ready"], one["key"], one["rights"]) == (False, "valid", "read only")
    (problem,) = one["problems"]
    assert problem.startswith("the API key may not write users (HTTP 400, code UNAUTHORIZED): previews work")
    assert ("fails without the rights" in one["next_runs"]["deactivate"]["notes"]) is fails


def test_a_key_without_rights_on_users_is_told_and_sets_are_looked_at_all_the_same() -> None:
    """A key that reads the configuration alone lacks the rights on users; what it can see is still told."""
    bench = bench_of(PURGE)
    bench.alma.faults.append(when("/users", unauthorized()))
    one = found(bench)
    assert (one["ready"], one["rights"], one["users_told"]) == (False, "none on users", "not known")
    assert one["problems"][0].startswith("the API key may not read users (HTTP 400, code UNAUTHORIZED)")
    assert one["sets"][0]["members"] > 0
    assert one["next_runs"]["purge"]["notes"][0] == "fails without the rights"
    assert one["next_runs"]["purge"]["held_from"] is None


def test_a_key_without_rights_on_sets_is_told_for_each_set() -> None:
    """What Alma refuses about sets is a problem of theirs; key and rights are told as they are."""
    bench = bench_of('purge: {select: {set_id: "1"}, exclude: {set_ids: ["2"]}}')
    bench.alma.faults.append(when("/conf/sets/{set_id}", unauthorized()))
    one = found(bench)
    assert (one["ready"], one["key"], one["rights"]) == (False, "valid", "read and write")
    assert [problem[:35] for problem in one["problems"]] == [
        "Alma refuses to show set 1 (HTTP 40",
        "Alma refuses to show set 2 (HTTP 40",
    ]
    assert [row["told"] for row in one["sets"]] == ["can't be used"] * 2


# ── Sets ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_every_set_is_found_with_its_size_and_what_it_is_used_for() -> None:
    """Selection, also_select and exclusion of both actions, by name and by id: one row for each set, asked for once."""
    bench = bench_of(
        'deactivate: {select: {set_name: "Expired and active"}, exclude: {set_names: ["Community patrons"]}}, '
        'purge: {select: {set_id: "11"}, also_select: {set_names: ["Also to purge", "Community patrons"]}, '
        'exclude: {set_ids: ["12"], set_names: ["Community patrons"]}}'
    )
    sets = bench.alma.institution(AAA).sets
    sets += [SimulatedSet("11", "Mine", members=("a", "b")), SimulatedSet("12", "Keep", condition=lambda _, __: True)]
    answer = check(bench)
    one = answer["institutions"][0]
    rows = {row["set"]: row for row in one["sets"]}
    assert len(rows) == len(one["sets"]) == 5
    uses = {name: (row["candidates_of"], row["excluded_from"]) for name, row in rows.items()}
    assert uses == {
        'set "Expired and active"': (["deactivate"], []),
        'set "Community patrons"': (["purge"], ["deactivate", "purge"]),
        "set 11": (["purge"], []),
        'set "Also to purge"': (["purge"], []),
        "set 12": ([], ["purge"]),
    }
    assert (rows["set 11"]["name"], rows["set 11"]["members"]) == ("Mine", 0)
    assert (rows["set 12"]["members"], rows["set 12"]["told"]) == (USERS, "1,200")
    community = bench.alma.institution(AAA).set_named("Community patrons")
    assert rows['set "Community patrons"']["members"] == len(community.members) > 0
    lines = [" ".join(line.split()) for line in answer["table"]]
    assert f'{AAA} set 12 "Keep" 1,200 protected from purge' in lines
    assert any(line.endswith("candidates of purge, protected from deactivate and purge") for line in lines)


def spoiled(trouble: str) -> tuple[str, str]:
    """A selection with that trouble, and what is told of it."""
    return {
        "missing name": ('{set_name: "Nowhere"}', 'no set of users is named "Nowhere"'),
        "missing id": ('{set_id: "404"}', 'there is no set with the id "404"'),
        "dots for an id": ('{set_id: ".."}', 'there is no set with the id ".."'),
        "items by name": ('{set_name: "OHIONET purge items"}', "holds ITEM, not users"),
        "items by id": ('{set_id: "77"}', 'set "Things" (id 77) holds ITEM, not users'),
        "two of a name": ('{set_name: "Twin"}', '2 sets of users are named "Twin" (ids 78, 79)'),
    }[trouble]


@pytest.mark.parametrize("use", ["select", "also_select", "exclude"])
@pytest.mark.parametrize(
    "trouble", ["missing name", "missing id", "dots for an id", "items by name", "items by id", "two of a name"]
)
def test_a_set_that_cannot_be_used_is_told_and_hides_no_other(trouble: str, use: str) -> None:
    """Whichever place it has in the policy, its trouble is a problem, and the other sets are looked at as well."""
    select, told = spoiled(trouble)
    by, _, name = select.strip("{}").partition(": ")
    sets = {"select": '{set_name: "OHIONET purge"}', "also_select": "{}", "exclude": "{}"}
    sets[use] = select if use == "select" else f"{{{by}s: [{name}]}}"
    policy = ", ".join(f"{key}: {value}" for key, value in sets.items())
    bench = bench_of(f'purge: {{{policy}}}, deactivate: {{select: {{set_name: "Community patrons"}}}}')
    bench.alma.institution(AAA).sets += [
        SimulatedSet("77", "Things", content="ITEM"),
        SimulatedSet("78", "Twin"),
        SimulatedSet("79", "Twin"),
    ]
    one = found(bench)
    assert one["ready"] is False
    (problem,) = one["problems"]
    assert problem.startswith(
        f"a set ({'protected from' if use == 'exclude' else 'candidates of'} purge) can't be used: "
    )
    assert told in problem
    bad = [row for row in one["sets"] if row["told"] == "can't be used"]
    assert [row["members"] for row in bad] == [None]
    assert all(row["members"] for row in one["sets"] if row not in bad)
    assert "fails without its sets" in one["next_runs"]["purge"]["notes"]
    assert one["next_runs"]["deactivate"]["notes"] == []
    if use != "exclude":
        assert one["next_runs"]["purge"]["candidates"].endswith(", not known")


def test_a_set_that_both_actions_name_is_one_problem() -> None:
    """A set that can't be found is told once, with all that it would be used for."""
    one = found(
        bench_of(f'{SWEEP[:-1]}, exclude: {{set_names: ["No"]}}}}, {PURGE[:-1]}, exclude: {{set_names: ["No"]}}}}')
    )
    (problem,) = one["problems"]
    assert problem.startswith("a set (protected from deactivate and purge) can't be used: no set of users")


def test_an_empty_set_is_a_warning_and_keeps_nothing_from_being_ready() -> None:
    """Nobody is protected by an empty exclusion set, and nobody found in an empty selection: worth a look."""
    bench = bench_of('purge: {select: {set_name: "OHIONET purge test"}, exclude: {set_names: ["Keep"]}}')
    bench.alma.institution(AAA).sets.append(SimulatedSet("12", "Keep"))
    answer = check(bench)
    one = answer["institutions"][0]
    assert (one["ready"], one["problems"]) == (True, [])
    assert one["warnings"] == [
        'set "OHIONET purge test" has no members: purge finds nobody in it',
        'set "Keep" has no members: it protects nobody from purge',
    ]
    assert answer["table"][-2:] == [f"look at {AAA}: {warning}" for warning in one["warnings"]]


def test_an_exclusion_set_that_would_hold_the_run_is_a_warning() -> None:
    """Where the last finished run knew more members, the check says that a real run would be held for it."""
    bench = bench_of('purge: {select: {set_name: "OHIONET purge"}, exclude: {set_names: ["Community patrons"]}}')
    assert isinstance(bench.store, MemoryStore)
    put_baseline(bench.store, changes=10, sizes={'set "Community patrons"': 5000})
    (warning,) = found(bench)["warnings"]
    assert warning.startswith('a real purge would be held: exclusion_set_shrunk: set "Community patrons" has ')


@pytest.mark.parametrize("count", [None, "-1", -1, "many", {}])
def test_a_set_without_a_usable_count_has_no_known_size(count: object) -> None:
    """Alma's count may be missing or -1: the size isn't told as 0, nor is the set called empty."""
    bench = bench_of('purge: {select: {set_id: "11"}, exclude: {set_ids: ["11"]}}')
    detail = {"id": "11", "name": "Mine", "content": {"value": "USER"}, "number_of_members": {"value": count}}
    bench.alma.faults.append(when("/conf/sets/{set_id}", json_reply(200, detail)))
    one = found(bench)
    assert one["ready"] is True
    (row,) = one["sets"]
    assert (row["members"], row["told"], row["name"]) == (None, "Alma doesn't tell", "Mine")
    assert one["next_runs"]["purge"]["candidates"] == "members of 1 set, not known"
    both = "set 11 is both what purge chooses from and what it excludes: none of its members is ever changed"
    assert one["warnings"] == [both], "and nothing about members"


# ── What the next run would do ────────────────────────────────────────────────────────────────────────────────────────


def put_baseline(
    store: MemoryStore, changes: int, sizes: dict[str, int] | None = None, action: Action = Action.PURGE
) -> None:
    """Let a run of this action have completed before."""
    store._baselines[AAA, action] = Baseline(
        code=AAA,
        action=action,
        run_id="before",
        finished_at=NOW,
        changes=changes,
        ever_changed=True,
        exclusion_sizes=sizes or {},
    )


@pytest.mark.parametrize(
    ("schedule", "told"),
    [
        (Schedule("Mondays at 03:00", is_on=True), "preview, Mondays at 03:00"),
        (Schedule("Mondays at 03:00", is_on=True, applies=True), "apply, Mondays at 03:00"),
        (Schedule("Mondays at 03:00", is_on=False, applies=True), "started by hand only"),
        (None, "started by hand only"),
    ],
)
def test_the_next_run_is_told_with_its_mode_and_time(schedule: Schedule | None, told: str) -> None:
    """A schedule that is on tells mode and time; one that is off, or that there isn't, starts nothing."""
    schedules = {Action.DEACTIVATE: schedule} if schedule else {}
    assert found(bench_of(SWEEP), schedules=schedules)["next_runs"]["deactivate"]["run"] == told


@pytest.mark.parametrize(
    ("policy", "told"),
    [
        ("select: {sweep: true}", "all 1,200 users"),
        ('select: {set_id: "12"}', "1,200 members of 1 set"),
        ('select: {set_id: "12"}, also_select: {set_ids: ["11"]}', "1,202 members of 2 sets"),
        ('select: {set_id: "12"}, also_select: {set_ids: ["12"]}', "1,200 members of 1 set"),
        ('select: {sweep: true}, also_select: {set_ids: ["11"]}', "all 1,200 users and 2 members of 1 set"),
    ],
)
def test_the_next_run_is_told_with_whom_it_looks_at(policy: str, told: str) -> None:
    """A sweep looks at all users, a selection at the members of its sets, each set counted once."""
    bench = bench_of(f"purge: {{{policy}}}")
    two = tuple(user["primary_id"] for user in list(bench.alma.institution(AAA).users.values())[-2:])
    bench.alma.institution(AAA).sets += [
        SimulatedSet("11", "Two", members=two),
        SimulatedSet("12", "Everybody", condition=lambda _, __: True),
    ]
    assert found(bench)["next_runs"]["purge"]["candidates"] == told


@pytest.mark.parametrize(
    ("caps", "before", "held_from"),
    [
        ("max_patrons: 500", None, 1),
        ("max_patrons: 50, first_run: apply", None, 51),
        ("max_patrons: 500, first_run: apply", None, 121),
        ("max_patrons: 500, max_percent: 0.05, first_run: apply", None, 1),
        ("max_patrons: 500", 10, 50),
        ("max_patrons: 500", 30, 91),
        ("max_patrons: 500", 400, 121),
    ],
)
def test_the_next_run_is_told_with_the_number_of_changes_that_holds_it(
    caps: str, before: int | None, held_from: int
) -> None:
    """The first purge is held whoever is due; later the caps count, and from fifty on three times the last run's."""
    bench = bench_of(f'purge: {{select: {{set_name: "OHIONET purge"}}, {caps}}}')
    assert isinstance(bench.store, MemoryStore)
    if before is not None:
        put_baseline(bench.store, before)
    answer = check(bench)
    assert answer["institutions"][0]["next_runs"]["purge"]["held_from"] == held_from
    assert any(f"{held_from} change{'s' if held_from > 1 else ''} on" in line for line in answer["table"])


def test_without_a_number_of_users_every_change_holds() -> None:
    """When Alma gives no usable number of users the run is held from the first change on, as the guard does it."""
    bench = bench_of(SWEEP)
    bench.alma.faults.append(when("/users", json_reply(200, {"user": [], "total_record_count": -1})))
    one = found(bench)
    assert (one["users"], one["users_told"], one["rights"]) == (None, "Alma doesn't tell", "read and write")
    assert one["next_runs"]["deactivate"]["held_from"] == 1
    assert one["next_runs"]["deactivate"]["candidates"] == "all users"
    assert one["warnings"] == [
        "a real deactivate would be held if it had anybody to change: Alma doesn't tell the number of users"
    ]


@pytest.mark.parametrize(
    ("policy", "before", "notes"),
    [
        ("", False, ["the first purge is held until somebody approves it", "records are kept 30 days"]),
        ("first_run: apply, vault_days: 0", False, ["the first purge is not held", "no records kept"]),
        ("vault_days: 90", True, ["records are kept 90 days"]),
    ],
)
def test_a_purge_is_told_with_whether_it_is_the_first_and_what_is_kept(
    policy: str, before: bool, notes: list[str]
) -> None:
    """The first purge is held unless the policy says otherwise; without vault_days no records are kept."""
    bench = bench_of(f'purge: {{select: {{set_name: "OHIONET purge"}}, {policy}}}, {SWEEP}')
    assert isinstance(bench.store, MemoryStore)
    if before:
        put_baseline(bench.store, 40)
    one = found(bench)
    assert one["next_runs"]["purge"]["notes"] == notes
    assert one["next_runs"]["deactivate"]["notes"] == []


def test_what_is_switched_off_has_no_next_run() -> None:
    """An action that isn't enabled, or isn't in the policy, has none, and its sets aren't looked for."""
    bench = bench_of(f'{SWEEP}, purge: {{enabled: false, select: {{set_name: "Nowhere"}}}}', PURGE)
    one, two = check(bench)["institutions"]
    assert (one["ready"], one["sets"]) == (True, [])
    assert one["next_runs"]["purge"]["run"] == "none: purge is not enabled in its policy"
    assert two["next_runs"]["deactivate"]["run"] == "none: deactivate is not enabled in its policy"


def test_a_disabled_institution_is_looked_at_and_has_no_next_run() -> None:
    """Its key and sets are told, as whoever wants to switch it on has to know; it isn't ready."""
    bench = bench_of(PURGE, enabled=False)
    answer = check(bench)
    one = answer["institutions"][0]
    assert (one["ready"], one["enabled"], one["key"], len(one["sets"])) == (False, False, "valid", 1)
    assert {run["run"] for run in one["next_runs"].values()} == {"none: the institution is disabled"}
    assert answer["table"][1].split()[1] == "disabled"


# ── Trouble ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_an_unknown_institution_is_an_invalid_event() -> None:
    """Every code that isn't registered is named, and nobody is asked anything."""
    bench = bench_of(SWEEP)
    with pytest.raises(InvalidEvent, match="institutions: 01OHIO_XXX, 01OHIO_YYY not registered"):
        check(bench, AAA, "01OHIO_XXX", "01OHIO_YYY")
    assert not bench.alma.calls


def test_institutions_are_told_in_the_order_asked_for_and_once() -> None:
    """Asked for some, the check answers for those alone; without any, there is nothing to tell."""
    bench = bench_of(SWEEP, SWEEP, SWEEP)
    assert [one["institution"] for one in check(bench, CCC, AAA, CCC)["institutions"]] == [CCC, AAA]
    bench.store = MemoryStore()
    assert check(bench) == {"table": [], "institutions": []}


def test_what_is_not_reached_in_time_is_told() -> None:
    """With too little time left nobody is asked, and each institution says to check it by itself."""
    bench = bench_of(SWEEP, PURGE)
    answer = check(bench, seconds=CHECK_SECONDS)
    assert not bench.alma.calls
    for one in answer["institutions"]:
        assert one["ready"] is False
        assert one["problems"] == ["the time was up before its turn came: check it by itself, with institutions"]
    runs = [line for line in answer["table"] if "preview, " in line]
    assert len(runs) == 2, "what the schedules say is known all the same"


DOWN = {
    "no connection": Fault(lost="reset"),
    "silence": Fault(lost="timeout"),
    "503": Fault(general_error()),
    "an HTML page": Fault(Reply(502, {"Content-Type": "text/html"}, b"<html>Bad gateway</html>")),
    "an empty object": Fault(json_reply(200, {})),
    "no JSON": Fault(Reply(200, {"Content-Type": "application/json"}, b"oops")),
    "the day's quota spent": Fault(daily_threshold()),
    "an odd refusal": Fault(error("60999", "Odd.")),
}


@pytest.mark.parametrize("trouble", DOWN)
def test_an_alma_that_is_down_is_a_problem_of_its_institution_alone(trouble: str) -> None:
    """However Alma is down for one institution: a problem there, in the time of a check, and the others are ready."""
    bench = bench_of(f"{SWEEP}, {PURGE}", SWEEP)
    bench.alma.faults.append(lambda request: DOWN[trouble] if request.institution == AAA else None)
    before = bench.time.clock()
    one, other = check(bench)["institutions"]
    assert bench.time.clock() - before < 120
    assert (one["ready"], other["ready"]) == (False, True)
    assert len(one["problems"]) == 1
    if trouble != "an odd refusal":
        assert (one["key"], one["rights"]) == ("not known", "not known")
        assert one["problems"][0].endswith("Not known: whose key it is, and everything else. Check again later")
    if trouble == "the day's quota spent":
        assert one["problems"][0].startswith("Alma's daily quota of API calls is spent.")


@pytest.mark.parametrize(
    ("method", "path", "missing"),
    [
        ("GET", "/users", "the number of users"),
        ("POST", "/users/operation/test", "whether the key may write users"),
        ("GET", "/conf/sets", 'set "OHIONET purge"'),
        ("GET", "/conf/sets/{set_id}", 'set "OHIONET purge"'),
    ],
)
def test_an_alma_that_is_half_down_hides_only_what_it_doesn_t_tell(method: str, path: str, missing: str) -> None:
    """One call that isn't answered is a problem that names what isn't known; everything else is told."""
    bench = bench_of(PURGE)
    bench.alma.faults.append(when(path, general_error(), method))
    one = found(bench)
    assert one["problems"] == [
        f"Alma gave no usable answer (HTTP 503, code GENERAL_ERROR). Not known: {missing}. Check again later"
    ]
    assert one["key"] == "valid"
    told = {"users": one["users"], "set": one["sets"][0]["members"]}
    assert (told["users"] is None) is (missing == "the number of users")
    assert (told["set"] is None) is path.startswith("/conf/sets")
    assert one["rights"] == {"/users": "write, read not known", "/users/operation/test": "read, write not known"}.get(
        path, "read and write"
    )
    held_from = one["next_runs"]["purge"]["held_from"]
    assert (held_from is None) is (missing == "the number of users")


def test_a_slow_alma_is_left_when_its_time_is_up() -> None:
    """An institution has half a minute; what isn't answered by then is told, and what was is kept."""
    bench = bench_of(PURGE)

    def slow(request: Request) -> Fault | None:
        bench.time.sleep(CHECK_SECONDS / 2 if request.route == "/users" else 0)
        bench.time.sleep(CHECK_SECONDS if request.route == "/users/operation/test" else 0)
        return None

    bench.alma.faults.append(slow)
    one = found(bench)
    assert one["problems"] == [
        'Alma answered too slowly for a check of 30 seconds. Not known: set "OHIONET purge". Check again later'
    ]
    assert (one["users"], one["rights"]) == (USERS, "read and write")


def test_whatever_else_goes_wrong_stays_with_its_institution() -> None:
    """An error that nobody thought of is a problem of the one institution, told without its words."""
    bench = bench_of(SWEEP, SWEEP)

    def connect(one: Institution, key: str) -> AlmaClient:
        if one.code == AAA:
            raise RuntimeError("with the key in it")
        return bench.connect(one, key, 20)

    one, other = check(bench, connect=connect)["institutions"]
    assert one["problems"] == ["the check itself failed (RuntimeError): check again, and look at the operator's log"]
    assert other["ready"]


def test_a_check_writes_nothing() -> None:
    """With every kind of set and both actions, and real runs scheduled, the one POST is Alma's own test of rights."""
    bench = bench_of(f"{SWEEP}, {PURGE}", PURGE, 'purge: {select: {set_name: "Nowhere"}}')
    users = {code: json.dumps(one.users) for code, one in bench.alma.institutions.items()}
    check(bench, schedules=APPLIES)
    methods = {(method, path) for _, method, path in bench.alma.calls if method != "GET"}
    assert methods == {("POST", "/users/operation/test")}
    assert {code: json.dumps(one.users) for code, one in bench.alma.institutions.items()} == users
    assert not bench.queue.sent
    assert not bench.store.recent_runs(10)


def test_connections_are_closed_whatever_comes() -> None:
    """Every client is closed, also when Alma isn't there."""
    bench = bench_of(SWEEP, SWEEP)
    bench.alma.faults.append(when("/conf/general", general_error(), institution=AAA))
    opened: list[str] = []
    closed: list[str] = []

    def connect(one: Institution, key: str) -> AlmaClient:
        client = bench.connect(one, key, 20)
        opened.append(one.code)
        client.close = lambda: closed.append(one.code)  # type: ignore[method-assign]
        return client

    check(bench, connect=connect)
    assert sorted(opened) == sorted(closed) == [AAA, BBB]


# ── Alma's daily calls ────────────────────────────────────────────────────────────────────────────────────────────────


def of_calls(one: dict[str, Any]) -> tuple[int | None, int | None]:
    """What is told of the day's calls: how many are left, and how many of those are for others."""
    return one["calls_left"], one["calls_for_others"]


def test_the_calls_that_are_left_and_the_reserve_in_force_are_told() -> None:
    """The reserve is the one by which a run would pause: at most a fifth of the most that was left within 24 hours."""
    bench = bench_of(SWEEP)
    bench.alma.institution(AAA).daily_quota = 1000
    answer = check(bench)
    (one,) = answer["institutions"]
    assert of_calls(one) == (997, 199)
    assert one["warnings"] == []
    assert answer["table"][1].endswith("997, 199 for others")
    bench.store.put_budget(Budget(name=f"institution#{AAA}", most={f"{NOW:%Y-%m-%dT%H}": 20_000}))
    told = found(bench)
    assert of_calls(told) == (994, 4_000)
    assert told["warnings"] == [
        "994 of Alma's calls are left today, and 4,000 are kept for others: a run would pause at once, and go on when "
        "Alma has renewed them"
    ]
    assert told["ready"]
    assert bench.store.budget(f"institution#{AAA}").most == {f"{NOW:%Y-%m-%dT%H}": 20_000}


def test_the_largest_reserve_of_a_pool_is_told_of_each_in_it() -> None:
    """Who shares a quota keeps as much of it for others as the most careful of them asks."""
    policies = [f"{SWEEP}, pace: {{reserve_daily_calls: {calls}}}" for calls in (5, 70, 90)]
    entries = registered(*policies).replace("region: na", "region: na, pool: Ohio", 2)
    bench = Workbench(entries, users=20)
    reserves = [one["calls_for_others"] for one in check(bench)["institutions"]]
    assert reserves == [70, 70, 90]


def test_where_alma_wasnt_asked_nothing_is_told_of_its_calls() -> None:
    """Without a key no call is made, so there is nothing that Alma could have said."""
    bench = bench_of(SWEEP)
    bench.keys.clear()
    answer = check(bench)
    (one,) = answer["institutions"]
    assert of_calls(one) == (None, None)
    assert answer["table"][1].endswith("not known")


# ── The table ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_table_is_aligned_and_complete() -> None:
    """Three blocks of columns name every institution, action and set; what to mend and to look at stands below."""
    bench = bench_of(f"{SWEEP}, {PURGE}", 'purge: {select: {set_name: "OHIONET purge items"}}')
    del bench.keys[BBB]
    lines = check(bench)["table"]
    first, rest = lines.index(""), lines[lines.index("") + 1 :]
    assert [line.split()[:2] for line in lines[:first]] == [["institution", "ready"], [AAA, "yes"], [BBB, "no"]]
    second = rest.index("")
    assert [line.split()[:2] for line in rest[1:second]] == [
        [code, action] for code in (AAA, BBB) for action in ("deactivate", "purge")
    ]
    for block in (lines[:first], rest[:second]):
        for start in starts(block[0]):
            assert all(line[start - 2 : start].strip() == "" for line in block), "columns begin at the same place"
    assert rest[second + 1 : -1] == [
        "institution  set                  members  used for",
        f'{AAA}   set "OHIONET purge"  198      candidates of purge',
        "",
    ]
    assert lines[-1] == f"mend {BBB}: secret test/{BBB} is missing: create it"


def starts(titles: str) -> list[int]:
    """Where the columns after the first begin; two blanks at least part their titles."""
    return [title.start() for title in re.finditer(r"\S+(?: \S+)*", titles)][1:]


@given(names=st.lists(st.text(max_size=30), min_size=1, max_size=4), told=st.text(max_size=30))
def test_every_line_of_the_table_is_one_line(names: list[str], told: str) -> None:
    """Whatever stands in a name or in Alma's words, the table has one line for each institution and each action."""
    findings = [
        Findings(name, environment=told, next_runs={"purge": NextRun(told, told)}, problems=[told], warnings=[told])
        for name in names
    ]
    lines = table(findings)
    assert len(lines) == 2 * (len(names) + 2) + 2 * len(names)
    assert not any(len(line.splitlines()) > 1 for line in lines)


def test_two_hundred_institutions_are_checked_side_by_side() -> None:
    """A whole consortium is told in one answer that Lambda may give, several institutions at a time."""
    codes = [f"01OHIO_{number:03}" for number in range(200)]
    bench = Workbench(registry_of(*codes, pace=25), users=12)
    del bench.keys[codes[7]]
    at_once: set[int] = set()
    lock = threading.Lock()

    def look() -> None:
        with lock:
            at_once.add(threading.get_ident())

    bench.before_call = look
    answer = check(bench, seconds=100_000)
    seen = {line.split()[0] for line in answer["table"][1:201]}
    assert seen == set(codes)
    assert [one["institution"] for one in answer["institutions"]] == codes
    assert [one["institution"] for one in answer["institutions"] if not one["ready"]] == [codes[7]]
    assert len(at_once) > 1
    assert len(json.dumps(answer)) < 1_000_000  # Lambda answers with 6 MB at most


def test_mails_that_would_not_arrive_are_told_where_they_are_wanted() -> None:
    """A library with notices is warned and stays ready, since runs work without mails; one without isn't bothered."""
    entries = registered(SWEEP, SWEEP, SWEEP).replace(
        f"code: {AAA}, name: Library", f"code: {AAA}, name: Library, notices: true, contacts: [a@example.edu]"
    )
    bench = Workbench(entries, users=20)

    told = {one["institution"]: one for one in check(bench, mail="no NoticeSender is set")["institutions"]}

    assert told[AAA]["warnings"] == ["notices to its contacts would not arrive: no NoticeSender is set"]
    assert told[AAA]["ready"]
    assert told[BBB]["warnings"] == []
    assert check(bench)["institutions"][0]["warnings"] == []
