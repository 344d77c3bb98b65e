"""What must be true of an institution run that has ended."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from patron_lifecycle.policy.reasons import Outcome
from patron_lifecycle.runs.model import InstitutionRun, Mode, PageState, Status
from patron_lifecycle.runs.store import Store
from sandbox.simulator.judge import OutcomeRow, WriteJudge
from tests.soak.mishaps import Kind, Wrong


def rows_of(run: InstitutionRun, store: Store, at: datetime) -> list[OutcomeRow]:
    """Its outcomes, a row for each."""
    return [
        (row.primary_id, row.outcome.value, row.reason or None, row.detail)
        for page in store.pages(run)
        for row in page.closed(at)
    ]


def maybe_written(run: InstitutionRun, store: Store) -> set[str]:
    """The keys of those who may have been written to when a worker was lost over them."""
    if not run.status.is_open or not run.frozen or run.next_page >= run.pages:
        return set()
    page = store.page(run.run_id, run.code, run.next_page)
    return {one.casefold() for one in page.eligible} if page.state is PageState.IN_PROGRESS else set()


def unconfirmed_in(rows: Iterable[OutcomeRow]) -> list[str]:
    """Of whom it isn't known what became of them."""
    return [row[0] for row in rows if row[2] == "unconfirmed"]


def wrongs_in(run: InstitutionRun, rows: Sequence[OutcomeRow], judge: WriteJudge, unanswered: int) -> Iterator[Wrong]:
    """What is wrong in its writes, outcomes and counts. Of `unanswered` patrons it may not know what became."""
    yield from (Wrong(Kind.WRITE, wrong) for wrong in judge.wrongs)
    unconfirmed = tuple(f"{user_id} ".casefold() for user_id in unconfirmed_in(rows))
    # Whom a worker was lost over, in a run that then ended for another cause, is told as just that.
    for wrong in judge.check_outcomes(rows):
        if not wrong.casefold().startswith(unconfirmed):
            yield Wrong(Kind.OUTCOME, wrong)
    if run.status is Status.COMPLETED and any(row[2] == "not_attempted" for row in rows):
        yield Wrong(Kind.OUTCOME, "a completed run left somebody over")
    may_be_unclear = unanswered if run.status is Status.COMPLETED else run.candidates
    if len(unconfirmed) > (may_be_unclear if run.mode is Mode.APPLY else 0):
        yield Wrong(Kind.OUTCOME, f"{len(unconfirmed)} unconfirmed in a run that is {run.status}")
    counted = Counter(row[1] for row in rows)
    if counted != Counter({outcome.value: count for outcome, count in run.outcomes.items()}):
        yield Wrong(Kind.OUTCOME, f"counted {dict(run.outcomes)}, but the rows have {dict(counted)}")


def wrongs_in_vault(
    rows: Iterable[OutcomeRow], judge: WriteJudge, kept: Mapping[str, Mapping[str, Any]], vault_days: int
) -> Iterator[Wrong]:
    """Who was purged without a copy among the `kept` ones, or with a wrong one."""
    if not vault_days:
        yield from (Wrong(Kind.OTHER, f"{key} is in a vault that is switched off") for key in kept)
        return
    for row in rows:
        if row[1] == Outcome.PURGED and row[0] not in kept:
            yield Wrong(Kind.OTHER, f"{row[0]} was purged without a copy")
    for write in judge.writes:
        if _but_link(kept.get(write.primary_id, {})) != _but_link(write.before or {}):
            yield Wrong(Kind.OTHER, f"the copy of {write.primary_id} is not what was deleted")


def _but_link(record: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in record.items() if name != "link"}


def figures_of(run: InstitutionRun, rows: Sequence[OutcomeRow], judge: WriteJudge) -> Counter[str]:
    """What it came to."""
    figures = Counter(row[1] for row in rows)
    figures["judged"] += sum(row[2] != "not_attempted" for row in rows)
    figures["candidates"] += run.candidates
    figures["writes"] += len(judge.writes)
    figures["recovered"] += sum(row[3].startswith("recovered") for row in rows)
    figures["unconfirmed"] += len(unconfirmed_in(rows))
    figures[f"institution runs {run.status}"] += 1
    return figures
