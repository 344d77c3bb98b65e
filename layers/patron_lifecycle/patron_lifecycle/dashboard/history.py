"""One institution: its latest runs as a chart and a table, and who its users are."""

from collections.abc import Sequence
from typing import NamedTuple

from patron_lifecycle.dashboard.charts import Chart, Column, Panel, chart_of
from patron_lifecycle.dashboard.frame import Frame, day_in_words
from patron_lifecycle.dashboard.population import chart_of_population, figures_of
from patron_lifecycle.policy.population import Population
from patron_lifecycle.policy.reasons import Action, Outcome
from patron_lifecycle.registry import Institution
from patron_lifecycle.runs.model import InstitutionRun, Mode
from patron_lifecycle.wording import ACTION_NOUNS, Hold, hold_in_words


class Row(NamedTuple):
    """One institution run, why it is as it is, and what holds it, or would."""

    one: InstitutionRun
    noun: str
    why: str
    holds: list[Hold]


def history_view(
    institution: Institution,
    is_registered: bool,
    runs: Sequence[InstitutionRun],
    populations: Sequence[Population],
    frame: Frame,
) -> str:
    """An institution's latest runs and populations, both with the latest first."""
    return frame.render(
        "history",
        institution=institution,
        is_registered=is_registered,
        rows=[
            Row(
                one,
                ACTION_NOUNS[one.action],
                one.reason_without_persons,
                [hold_in_words(each) for each in one.hold_reasons],
            )
            for one in runs
        ],
        chart=_chart(runs, frame),
        population=populations[0] if populations else None,
        figures=figures_of(populations[:1]) if populations else None,
        population_chart=chart_of_population(populations) if len(populations) > 1 else None,
    )


def _chart(runs: Sequence[InstitutionRun], frame: Frame) -> Chart | None:
    in_time = list(reversed(runs))
    columns = []
    for one in in_time:
        day = frame.day_of(one.created_at)
        preview = " (preview)" if one.mode is Mode.PREVIEW else ""
        told = f"{day_in_words(day)}, {ACTION_NOUNS[one.action]}{preview}, {one.status}"
        columns.append(Column((f"{day:%b}", str(day.day)), told, one.mode is Mode.PREVIEW))

    def changed(*actions: Action) -> list[int | None]:
        return [one.changes if one.action in actions else None for one in in_time]

    def left(*outcomes: Outcome) -> list[int | None]:
        return [sum(one.outcomes.get(outcome, 0) for outcome in outcomes) for one in in_time]

    return chart_of(
        "What came of the latest runs",
        columns,
        [
            Panel("Deactivated", changed(Action.DEACTIVATE)),
            Panel("Purged", changed(Action.PURGE)),
            Panel("Brought back", changed(Action.REINSTATE, Action.RESTORE)),
            Panel("Blocked or failed", left(Outcome.BLOCKED, Outcome.FAILED)),
            Panel("Skipped", left(Outcome.SKIPPED)),
        ],
    )
