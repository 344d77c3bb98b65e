"""`python -m sandbox.simulator`: the simulated Alma as a process of its own."""

import json
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Annotated

import typer
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from sandbox.simulator.alma import Alma, Latency
from sandbox.simulator.institutions import institution
from sandbox.simulator.server import serve


class Wanted(BaseModel):
    """One institution of the file: `users` is how many patrons to invent."""

    model_config = ConfigDict(extra="forbid")

    code: str = Field(min_length=1)
    name: str
    users: int = Field(ge=0)
    api_key: str = Field(min_length=1)
    read_only_keys: tuple[str, ...] = ()
    daily_quota: int | None = Field(default=None, ge=0)
    pool: str | None = None


def main(
    institutions: Annotated[Path, typer.Option(help='JSON: [{"code", "name", "users", "api_key"}, …]')],
    port: Annotated[int, typer.Option(help="0 takes a free one.")] = 0,
    seed: Annotated[int, typer.Option(help="The same seed invents the same patrons.")] = 1,
    latency: Annotated[bool, typer.Option(help="Be as slow as Alma is.")] = True,
    today: Annotated[str, typer.Option(help="The day, yyyy-MM-dd; by default the real one (UTC).")] = "",
) -> None:
    """Serve a simulated Alma on 127.0.0.1; prints {"url": …} once it answers."""
    try:
        wanted = TypeAdapter(list[Wanted]).validate_json(institutions.read_bytes())
        start = date.fromisoformat(today) if today else datetime.now(UTC).date()
    except OSError as error:
        raise typer.BadParameter(f"{institutions} can't be read: {error.strerror}") from None
    except ValidationError as error:
        wrong = "; ".join(f"{'.'.join(map(str, e['loc'])) or 'file'}: {e['msg']}" for e in error.errors())
        raise typer.BadParameter(f"{institutions}: {wrong}") from None
    except ValueError:
        raise typer.BadParameter(f"--today {today} is no day of the form yyyy-MM-dd") from None

    simulated = []
    for row in wanted:
        built = institution(row.code, row.name, row.api_key, row.users, seed, start)
        built.read_only_keys = frozenset(row.read_only_keys)
        if row.daily_quota is not None:
            built.daily_quota = row.daily_quota
        built.pool = row.pool
        simulated.append(built)
    alma = Alma(
        simulated,
        latency=Latency(seed=seed) if latency else None,
        today=(lambda: start) if today else (lambda: datetime.now(UTC).date()),
    )
    try:
        serve(alma, port, lambda url: print(json.dumps({"url": url}), flush=True))
    except OSError as error:
        raise typer.BadParameter(f"--port {port} can't be used: {error.strerror}. 0 takes a free one") from None


if __name__ == "__main__":
    typer.run(main)
