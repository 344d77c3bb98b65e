"""What a sweep tells of an institution's users: counted once each, whatever happens to the worker and the paging."""

import json
from collections import Counter
from datetime import date, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from patron_lifecycle.policy.population import Age, Population
from patron_lifecycle.runs.model import InstitutionRun, Status
from patron_lifecycle.runs.store import MemoryStore
from sandbox.simulator.messages import Fault, Request, json_reply
from sandbox.simulator.patrons import coded
from tests.samples import patron
from tests.workbench import TODAY, Killed, Workbench, registry_of

CODE = "01OHIO_AAA"
BOTH = f"""
institutions:
  - code: {CODE}
    name: Alder
    region: na
    time_zone: America/New_York
    policy:
      deactivate: {{select: {{sweep: true}}, max_patrons: 1000000, max_percent: 100}}
      purge:
        {{select: {{sweep: true}}, also_select: {{set_names: ["OHIONET purge"]}}, retention_years: 2, first_run: apply,
          max_patrons: 1000000, max_percent: 100}}
"""


def only(bench: Workbench) -> Population:
    """The one population that is kept."""
    (found,) = bench.store.populations(CODE)
    return found


def agrees(found: Population, bench: Workbench) -> None:
    """Whether the population is that of all users in the simulated Alma, counted in another way."""
    users = bench.alma.institution(CODE).users.values()
    expiry = [user.get("expiry_date") for user in users]
    past = [date.fromisoformat(day[:10]) for day in expiry if day]
    ages = Counter[Age]()
    for days in ((TODAY - day).days for day in past if day < TODAY):
        ages[Age.WEEK if days <= 7 else Age.YEAR if days <= 365 else Age.LONGER] += 1
    assert found.users == len(users)
    assert found.inactive == sum(user["status"]["value"] == "INACTIVE" for user in users)
    assert found.active == len(users) - found.inactive
    assert found.no_expiry_date == expiry.count(None)
    assert found.current == sum(day >= TODAY for day in past)
    assert (found.expired[Age.WEEK], found.expired[Age.YEAR]) == (ages[Age.WEEK], ages[Age.YEAR])
    assert sum(found.expired.values()) == ages.total()
    groups = Counter(user["user_group"]["desc"] or user["user_group"]["value"] for user in users)
    assert {name: group.patrons for name, group in found.groups.items()} == groups


@pytest.mark.parametrize("action", ["deactivate", "purge"])
@pytest.mark.parametrize("mode", ["preview", "apply"])
def test_every_sweep_keeps_who_the_users_are(mode: str, action: str) -> None:
    """Preview or not, of either action, beside sets or alone: the population is that of before the first change."""
    bench = Workbench(BOTH, users=700)
    before = Workbench(BOTH, users=700)
    run = bench.run(action=action, mode=mode)
    assert run.status is Status.COMPLETED
    agrees(only(bench), before)
    assert (only(bench).code, only(bench).day, only(bench).run_id) == (CODE, TODAY, run.run_id)
    assert only(bench).past_retention == sum(
        date.fromisoformat(user["expiry_date"][:10]) < date(2024, 11, 23)
        for user in before.alma.institution(CODE).users.values()
        if user.get("expiry_date")
    )


def test_a_set_tells_nothing_of_all_users() -> None:
    """Its members are some of them, so no population is kept."""
    bench = Workbench(
        BOTH.replace("select: {sweep: true}, also", 'select: {set_name: "OHIONET purge"}, also'), users=60
    )
    assert bench.run(action="purge").status is Status.COMPLETED
    assert bench.store.populations(CODE) == []


def test_the_day_is_the_real_one_whatever_day_is_judged_by() -> None:
    """A preview of the purge to come doesn't make a population of the future."""
    bench = Workbench(BOTH, users=60)
    bench.run(mode="preview")
    today = only(bench)
    run = bench.run(action="purge", mode="preview", as_of=str(TODAY + timedelta(days=8)))
    assert run.day == TODAY + timedelta(days=8)
    again = only(bench)
    assert again.run_id == run.run_id != today.run_id
    assert (again.day, again.users, again.expired) == (TODAY, today.users, today.expired)


def test_a_later_sweep_of_the_day_replaces_the_earlier_and_the_next_days_joins_it() -> None:
    """One population a day, the latest, so that the chart over time has one point for it."""
    bench = Workbench(users=60)
    bench.run()
    last = bench.run(mode="preview")
    assert only(bench).run_id == last.run_id
    bench.time.sleep(86_400)
    bench.run(mode="preview")
    assert [one.day for one in bench.store.populations(CODE)] == [TODAY + timedelta(days=1), TODAY]


def test_a_sweep_over_midnight_is_of_the_day_on_which_it_began() -> None:
    """A patron's age doesn't depend on the slice in which they were read."""
    bench, reference = (Workbench(users=700, one_thread=True) for _ in range(2))
    reference.run(mode="preview")
    bench.time.sleep(12 * 3600 - 180)  # three minutes to midnight in New York
    bench.before_call = lambda: bench.time.sleep(60)
    run = bench.start(mode="preview").run_id
    bench.slice(bench.queue.messages.popleft())
    assert bench.institution_run(run).reading is not None
    bench.before_call = lambda: None
    bench.drain()
    assert bench.institution_run(run).slices == 2
    assert only(bench) == only(reference).model_copy(update={"run_id": run})


def test_a_second_reading_starts_from_zero() -> None:
    """When the counts of the first one don't agree it is forgotten, and nobody is counted twice."""
    bench = Workbench(users=500)
    pages = [0]

    def lie_once(request: Request) -> Fault | None:
        if request.route != "/users" or "expand" not in request.query:
            return None
        pages[0] += 1
        return (
            Fault(reply=json_reply(200, {"user": [patron("x")], "total_record_count": 500})) if pages[0] == 3 else None
        )

    bench.alma.faults.append(lie_once)
    run = bench.run(mode="preview")
    assert run.readings[0].attempt == 2
    agrees(only(bench), bench)


def test_a_sweep_whose_counts_never_agree_keeps_no_population() -> None:
    """What couldn't be read whole isn't told as if it had been; what was known before stays."""
    bench = Workbench(users=300)
    bench.run(mode="preview")
    known = only(bench)
    nothing = Fault(reply=json_reply(200, {"total_record_count": 300}))
    bench.alma.faults.append(lambda request: nothing if int(request.query.get("offset", 0)) > 0 else None)
    assert bench.run(mode="preview").status is Status.FAILED
    assert only(bench) == known


def test_who_is_given_twice_because_the_pages_shift_is_counted_once() -> None:
    """Somebody registers in mid-sweep and pushes the last of each page to the next: seen and counted agree."""
    bench = Workbench(users=1200, one_thread=True)
    calls = [0]

    def register() -> None:
        calls[0] += 1
        if calls[0] in (6, 11):
            user = patron(f"!{calls[0]}", user_group=coded("NEW", "New"))
            bench.alma.institution(CODE).users[user["primary_id"]] = user

    bench.before_call = register
    run = bench.run(mode="preview")
    assert run.readings[0].attempt == 1
    assert run.seen == only(bench).users == 1200
    assert "New" not in only(bench).groups


def test_an_institution_run_does_not_carry_the_population_on() -> None:
    """Once it is kept by itself it is taken out of what every later write of the institution run stores."""
    run = Workbench(users=60).run(mode="preview")
    assert run.readings[0].population is None
    assert run.readings[0].seen == run.seen


def test_a_reading_of_an_older_make_keeps_no_population_of_its_second_half() -> None:
    """A sweep that was under way while the service was updated had not been counting."""
    bench = Workbench(registry_of(CODE, pace=1), users=1500, seconds=8)
    started = bench.start(mode="preview")
    bench.slice(bench.queue.messages.popleft())
    half = bench.institution_run(started.run_id)
    assert half.reading is not None
    bench.store.save(half.but(reading=half.reading.but(population=None)))
    bench.drain()
    assert bench.institution_run(started.run_id).status is Status.COMPLETED
    assert bench.store.populations(CODE) == []


def test_the_largest_population_leaves_an_institution_run_far_below_dynamodbs_limit() -> None:
    """A hundred groups of long names in a script of four bytes a character take a quarter of an item at most."""
    bench = Workbench(registry_of(CODE, pace=1), users=0, seconds=8)
    bench.alma.institution(CODE).users = {
        f"p{number:04}": patron(f"p{number:04}", user_group=coded(f"G{number}", f"{number:03}" + "🙂" * 200))
        for number in range(700)
    }
    largest = [0]
    save = bench.store.save

    def measured(one: InstitutionRun) -> InstitutionRun:
        largest[0] = max(largest[0], len(json.dumps(one.model_dump(mode="json"), ensure_ascii=False).encode()))
        return save(one)

    bench.store.save = measured  # type: ignore[method-assign,assignment]
    assert bench.run(mode="preview").status is Status.COMPLETED
    assert len(only(bench).groups) == 101
    assert 40_000 < largest[0] < 100_000


class DyingStore(MemoryStore):
    """A store whose worker is killed at a given write of what a reading stores, before or after it is stored."""

    def __init__(self, die_at: int, *, after: bool) -> None:
        super().__init__()
        self.writes_left = die_at
        self.after = after
        self.puts = 0

    def _write(self, name: str, *arguments: Any) -> Any:
        self.writes_left -= 1
        if not self.writes_left and not self.after:
            raise Killed
        result = getattr(MemoryStore, name)(self, *arguments)
        if not self.writes_left:
            raise Killed
        return result

    def save(self, *arguments: Any) -> Any:
        """See `Store`."""
        return self._write("save", *arguments)

    def put_draft(self, *arguments: Any) -> Any:
        """See `Store`."""
        return self._write("put_draft", *arguments)

    def put_population(self, *arguments: Any) -> Any:
        """See `Store`."""
        self.puts += 1
        return self._write("put_population", *arguments)


@pytest.mark.untraced
@settings(max_examples=15)
@given(
    die_at=st.integers(1, 16),
    after=st.booleans(),
    dies_at_call=st.integers(0, 20),
    pace=st.sampled_from([1, 20]),
)
def test_whenever_the_worker_dies_the_population_is_the_same(
    die_at: int, after: bool, dies_at_call: int, pace: int
) -> None:
    """Killed at any call and any write of the sweep: nobody is lost, and nobody counted twice."""
    store = DyingStore(die_at, after=after)
    bench = Workbench(registry_of(CODE, pace=pace), users=900, store=store, seconds=8)
    calls = [0]

    def die() -> None:
        calls[0] += 1
        if calls[0] == dies_at_call:
            raise Killed

    bench.before_call = die
    started = bench.start(mode="preview")
    bench.drain(deliveries=50)
    run = bench.institution_run(started.run_id)
    assert run.status is Status.COMPLETED
    agrees(only(bench), bench)


@pytest.mark.parametrize("after", [False, True])
def test_a_population_may_be_stored_twice(after: bool) -> None:
    """A worker that dies right after it, or just before, leaves the next one to store the same again."""
    bench = Workbench(users=60)
    bench.run(mode="preview")
    writes = 5  # begun, a draft and its reading, the population
    for die_at in range(1, writes + 1):
        store = DyingStore(die_at, after=after)
        again = Workbench(users=60, store=store)
        run = again.run(mode="preview")
        assert run.status is Status.COMPLETED
        assert only(again) == only(bench).model_copy(update={"run_id": run.run_id})
        if store.puts == 2:
            break
    else:
        pytest.fail("no worker died at the population")
