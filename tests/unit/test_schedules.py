"""The schedules as a function is told of them: in words, and when they start something next."""

from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from patron_lifecycle.policy.reasons import Action
from patron_lifecycle.schedules import Schedule, next_start, next_starts, schedules_of, zone_of
from patron_lifecycle.settings import Settings
from tests.samples import NOW

NEW_YORK = ZoneInfo("America/New_York")


def settings(**told: str) -> Settings:
    """The settings of a function, the schedules in New York."""
    usual = dict.fromkeys(("table_name", "queue_url", "secret_prefix", "event_source"), "x")
    given: dict[str, Any] = {**usual, "retention_days": "1", "schedule_time_zone": "America/New_York", **told}
    return Settings.model_validate(given)


@pytest.mark.parametrize(
    ("expression", "words"),
    [
        ("cron(0 3 ? * MON *)", "Mondays at 03:00 America/New_York"),
        ("cron(30 22 ? * WED *)", "Wednesdays at 22:30 America/New_York"),
        ("cron(5 0 28 * ? *)", "on day 28 of the month at 00:05 America/New_York"),
        ("cron(0 3 * * ? *)", "every day at 03:00 America/New_York"),
        ("cron(0 3 ? * * *)", "every day at 03:00 America/New_York"),
        ("rate(7 days)", "every 7 days"),
        ("cron(0 3 ? * MON-FRI *)", "cron(0 3 ? * MON-FRI *) America/New_York"),
        ("cron(0/5 3 L * ? *)", "cron(0/5 3 L * ? *) America/New_York"),
        ("cron(0 3 1 1 ? *)", "cron(0 3 1 1 ? *) America/New_York"),
    ],
)
def test_schedules_are_read_from_the_settings_and_told_in_words(expression: str, words: str) -> None:
    """Each action has its own schedule; usual expressions are told in words, others as they are."""
    schedules = schedules_of(
        settings(
            purge_schedule=expression,
            purge_schedule_state="ENABLED",
            apply_purge="true",
            deactivate_schedule="cron(0 4 ? * TUE *)",
        )
    )
    assert schedules[Action.PURGE] == Schedule(words, is_on=True, applies=True)
    assert schedules[Action.DEACTIVATE] == Schedule("Tuesdays at 04:00 America/New_York")


@pytest.mark.parametrize(
    ("expression", "at"),
    [
        ("cron(0 3 ? * MON *)", datetime(2026, 11, 30, 3, tzinfo=NEW_YORK)),  # it is Monday noon: in a week
        ("cron(1 12 ? * MON *)", datetime(2026, 11, 23, 12, 1, tzinfo=NEW_YORK)),
        ("cron(0 12 ? * MON *)", datetime(2026, 11, 30, 12, tzinfo=NEW_YORK)),  # this very moment is over
        ("cron(0 3 ? * SUN *)", datetime(2026, 11, 29, 3, tzinfo=NEW_YORK)),
        ("cron(0 5 1 * ? *)", datetime(2026, 12, 1, 5, tzinfo=NEW_YORK)),
        ("cron(0 5 28 * ? *)", datetime(2026, 11, 28, 5, tzinfo=NEW_YORK)),
        ("cron(0 5 31 * ? *)", datetime(2026, 12, 31, 5, tzinfo=NEW_YORK)),  # November has no such day
        ("cron(0 3 ? * * *)", datetime(2026, 11, 24, 3, tzinfo=NEW_YORK)),
        ("rate(7 days)", None),
        ("cron(0 3 ? * MON-FRI *)", None),
        ("cron(0 24 1 * ? *)", None),
        ("cron(60 3 1 * ? *)", None),
        ("cron(0 3 0 * ? *)", None),
        ("", None),
    ],
)
def test_the_next_start_is_the_first_time_ahead(expression: str, at: datetime | None) -> None:
    """On Monday at noon in New York: the day and the time there; unusual expressions are not guessed at."""
    assert next_start(expression, NEW_YORK, NOW) == at


def test_the_next_start_keeps_to_the_clock_when_summer_time_ends() -> None:
    """Three in the morning stays three in the morning, an hour later by UTC."""
    before = next_start("cron(0 3 ? * * *)", NEW_YORK, datetime(2026, 10, 31, 6, tzinfo=UTC))
    after = next_start("cron(0 3 ? * * *)", NEW_YORK, datetime(2026, 11, 1, 6, tzinfo=UTC))
    assert before == datetime(2026, 10, 31, 7, tzinfo=UTC)
    assert after == datetime(2026, 11, 1, 8, tzinfo=UTC)


def test_a_time_that_the_clock_leaps_over_starts_nothing() -> None:
    """Half past two on the night that summer time begins doesn't come, and Scheduler makes no other time of it."""
    nightly, weekly = "cron(30 2 * * ? *)", "cron(30 2 ? * SUN *)"
    eve = datetime(2027, 3, 13, 20, tzinfo=UTC)
    assert next_start(nightly, NEW_YORK, eve) == datetime(2027, 3, 15, 2, 30, tzinfo=NEW_YORK)
    assert next_start(weekly, NEW_YORK, eve) == datetime(2027, 3, 21, 2, 30, tzinfo=NEW_YORK)
    assert next_start("cron(0 3 ? * SUN *)", NEW_YORK, eve) == datetime(2027, 3, 14, 3, tzinfo=NEW_YORK)


def test_a_schedule_that_is_off_starts_nothing() -> None:
    """Only what is on has a next start."""
    told = {"deactivate_schedule": "cron(0 3 ? * MON *)", "purge_schedule": "cron(0 5 1 * ? *)"}
    assert next_starts(settings(**told), NOW) == {}
    starts = next_starts(settings(**told, purge_schedule_state="ENABLED"), NOW)
    assert starts == {Action.PURGE: datetime(2026, 12, 1, 5, tzinfo=NEW_YORK)}


@pytest.mark.parametrize("name", ["", "Atlantis/Capital", "../etc/passwd"])
def test_without_a_known_time_zone_it_is_utc(name: str) -> None:
    """A zone that isn't known doesn't keep anybody from seeing a time."""
    assert zone_of(settings(schedule_time_zone=name)) == ZoneInfo("UTC")
