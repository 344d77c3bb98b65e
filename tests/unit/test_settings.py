"""The functions' settings: read from the environment, all mistakes named."""

import pytest
from pydantic import ValidationError

from patron_lifecycle.settings import Settings

ENVIRONMENT = {
    "TABLE_NAME": "runs",
    "QUEUE_URL": "https://sqs.example.edu/work.fifo",
    "SECRET_PREFIX": "alma-patron-lifecycle/dev",
    "RETENTION_DAYS": "400",
    "EVENT_SOURCE": "alma-patron-lifecycle.dev",
}


def test_settings_are_read_from_the_environment() -> None:
    """Numbers are read from text; what a function doesn't need has a default; other variables are no matter."""
    settings = Settings.from_environment({**ENVIRONMENT, "PATH": "/bin", "AWS_REGION": "us-east-2"})
    assert settings.model_dump(include={name.lower() for name in ENVIRONMENT}) == {
        "table_name": "runs",
        "queue_url": "https://sqs.example.edu/work.fifo",
        "secret_prefix": "alma-patron-lifecycle/dev",
        "retention_days": 400,
        "event_source": "alma-patron-lifecycle.dev",
    }
    assert settings.alma_base_url == ""
    assert settings.stalled_after_seconds > 3600
    assert not settings.apply_purge


def test_every_setting_can_be_given() -> None:
    """The sandbox's own Alma, a shorter time until an institution run counts as stalled, and switches are taken."""
    own = {"ALMA_BASE_URL": "http://127.0.0.1:8080", "STALLED_AFTER_SECONDS": "120", "APPLY_PURGE": "true"}
    settings = Settings.from_environment({**ENVIRONMENT, **own})
    assert (settings.alma_base_url, settings.stalled_after_seconds) == ("http://127.0.0.1:8080", 120)
    assert settings.apply_purge


@pytest.mark.parametrize("missing", ENVIRONMENT)
def test_a_missing_variable_is_named(missing: str) -> None:
    """A function without one of its variables fails at its start and says which."""
    environment = {name: value for name, value in ENVIRONMENT.items() if name != missing}
    with pytest.raises(ValidationError, match=missing.lower()):
        Settings.from_environment(environment)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("TABLE_NAME", " "),
        ("RETENTION_DAYS", "0"),
        ("RETENTION_DAYS", "a year"),
        ("STALLED_AFTER_SECONDS", "-1"),
        ("APPLY_PURGE", "perhaps"),
    ],
)
def test_a_useless_value_is_refused(name: str, value: str) -> None:
    """Blank names and times that aren't positive numbers never get further than the start."""
    with pytest.raises(ValidationError, match=name.lower()):
        Settings.from_environment({**ENVIRONMENT, name: value})
