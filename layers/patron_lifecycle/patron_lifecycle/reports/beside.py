"""What a report tells that isn't in `run.json`, whose shape is fixed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from patron_lifecycle.policy.population import Population
from patron_lifecycle.runs.model import BringBack, Run, Skipped
from patron_lifecycle.runs.store import Store

_POPULATIONS = 60  # a year of weekly sweeps, and some more


@dataclass(frozen=True)
class Beside:
    """What stands beside a run's document in its report; nothing of it has to be known.

    `names` are the institutions' names by code; `skipped` the institutions that the run left out, and why; `bring_back`
    whom a reinstate or a restore brings back; `populations` who each institution's users are, by code, the latest day
    first. Without `lists` the report tells numbers alone, and says where the lists of patrons are.
    """

    names: Mapping[str, str] = field(default_factory=dict)
    skipped: Sequence[Skipped] = ()
    bring_back: BringBack | None = None
    populations: Mapping[str, Sequence[Population]] = field(default_factory=dict)
    lists: bool = True


NOTHING = Beside()


def beside_of(store: Store, run: Run, code: str = "") -> Beside:
    """What the store has beside a run's own results: names from the registry, and the latest populations.

    With `code` it is what belongs into that institution's own report, and nothing of any other.
    """
    codes = (code,) if code else run.institutions
    registered = [store.institution(code)] if code else store.institutions()
    counted = {one: store.populations(one, _POPULATIONS) for one in codes}
    return Beside(
        names={institution.code: institution.name for institution in registered if institution is not None},
        skipped=() if code else run.skipped,
        bring_back=run.bring_back,
        populations={one: found for one, found in counted.items() if found},
    )
