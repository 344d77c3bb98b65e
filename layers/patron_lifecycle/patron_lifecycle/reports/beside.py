"""What a report tells that isn't in `run.json`, whose shape is fixed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from patron_lifecycle.policy.population import Population
from patron_lifecycle.runs.model import BringBack, Run, Skipped
from patron_lifecycle.runs.store import Store

_POPULATIONS = 60  # a year of weekly sweeps, and some more


@dataclass(frozen=True)
class Beside:
    """What stands beside a run's document in its report; nothing of it has to be known.

    `names` are the institutions' names by code; `skipped` the institutions that the run left out, and why; `bring_back`
    whom a reinstate or a restore brings back; `populations` who each institution's users are, by code, the latest day
    first. Without `lists` the report tells numbers alone, and says that the lists of patrons are in each institution's
    own report.
    """

    names: Mapping[str, str] = field(default_factory=dict)
    skipped: Sequence[Skipped] = ()
    bring_back: BringBack | None = None
    populations: Mapping[str, Sequence[Population]] = field(default_factory=dict)
    lists: bool = True

    def of(self, code: str) -> "Beside":
        """What of it is for one institution alone, with its lists."""
        return replace(
            self,
            names={code: self.names[code]} if code in self.names else {},
            skipped=tuple(one for one in self.skipped if one.institution == code),
            populations={code: self.populations[code]} if code in self.populations else {},
            lists=True,
        )


NOTHING = Beside()


def beside_of(store: Store, run: Run) -> Beside:
    """What the store has beside a run's own results: names from the registry, and the latest populations."""
    counted = {code: store.populations(code, _POPULATIONS) for code in run.institutions}
    return Beside(
        names={institution.code: institution.name for institution in store.institutions()},
        skipped=run.skipped,
        bring_back=run.bring_back,
        populations={code: found for code, found in counted.items() if found},
    )
