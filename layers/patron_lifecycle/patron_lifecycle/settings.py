"""What template.yaml tells the functions, read once at cold start into one frozen, typed object."""

from collections.abc import Mapping
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

Name = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]


class Settings(BaseModel):
    """The environment variables of the functions. `stalled_after_seconds` is the operator's alone."""

    model_config = ConfigDict(frozen=True)

    table_name: Name
    queue_url: Name
    secret_prefix: Name
    alma_base_url: str = ""
    retention_days: Annotated[int, Field(ge=1)]
    stalled_after_seconds: Annotated[int, Field(ge=1)] = 11100

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> "Settings":
        """Read the settings; raises pydantic's `ValidationError` that names a missing variable."""
        return cls.model_validate(
            {name: environment[name.upper()] for name in cls.model_fields if name.upper() in environment}
        )
