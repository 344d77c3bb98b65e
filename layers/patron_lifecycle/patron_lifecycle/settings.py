"""What template.yaml tells the functions, read once at cold start into one frozen, typed object."""

from collections.abc import Mapping
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

Name = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]


class Settings(BaseModel):
    """The environment variables of the functions.

    `vault_bucket`, `resume_schedule_group`, `resume_role_arn` and `schedule_dead_letter_arn` are the worker's alone,
    `stalled_after_seconds` and `dead_letter_queue_url` the operator's, `operator_function_arn` the dashboard's and the
    worker's; `alarm_topic`, `operator_name` and `report_link_url` the reporter's. What schedules there are is told by
    operator and dashboard.
    """

    model_config = ConfigDict(frozen=True)

    table_name: Name
    queue_url: Name
    secret_prefix: Name
    alma_base_url: str = ""
    event_source: Name
    retention_days: Annotated[int, Field(ge=1)]
    vault_bucket: str = ""
    dead_letter_queue_url: str = ""
    stalled_after_seconds: Annotated[int, Field(ge=1)] = 11100
    deactivate_schedule: str = ""
    deactivate_schedule_state: str = "DISABLED"
    apply_deactivate: bool = False
    purge_schedule: str = ""
    purge_schedule_state: str = "DISABLED"
    apply_purge: bool = False
    schedule_time_zone: str = ""
    reports_bucket: str = ""
    report_link_url: str = ""
    notice_sender: str = ""
    alarm_topic: str = ""
    operator_name: str = ""
    operator_function_arn: str = ""
    resume_schedule_group: str = ""
    resume_role_arn: str = ""
    schedule_dead_letter_arn: str = ""

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> "Settings":
        """Read the settings; raises pydantic's `ValidationError` that names a missing variable."""
        return cls.model_validate(
            {name: environment[name.upper()] for name in cls.model_fields if name.upper() in environment}
        )
