"""A small simulated Alma."""

from datetime import date

import pytest

from sandbox.simulator.alma import Alma
from sandbox.simulator.institutions import SimulatedInstitution, SimulatedSet, expired_and_active, expired_for_years
from sandbox.simulator.patrons import identifier, record
from tests.unit.sandbox.simulator_caller import CODE, KEY, TODAY, Caller


@pytest.fixture
def institution() -> SimulatedInstitution:
    """Four patrons and a set of each kind."""
    return SimulatedInstitution(
        CODE,
        "Ashland",
        KEY,
        read_only_keys=("key-that-reads",),
        users=[
            record(
                "Willow.Elbe", first_name="Willow", last_name="Elbe", expiry_date=date(2026, 10, 1), loans=2, fees=51.0
            ),
            record("fern.arno", expiry_date=date(2022, 1, 31), user_identifier=[identifier("BARCODE", "WILLOW.ELBE")]),
            record("sage/oder#1", last_name="Oder", first_name="Sage", user_group="COMMUNITY"),
            record("no primary id (4711)", record_type="CONTACT", first_name="Reed", last_name="Yonne"),
        ],
        sets=[
            SimulatedSet("11", "OHIONET purge", condition=expired_for_years, query="USER where …"),
            SimulatedSet("12", "OHIONET purge items", content="ITEM", members=("2315",)),
            SimulatedSet("13", "Expired and active", condition=expired_and_active),
            SimulatedSet("14", "Community patrons", members=("SAGE/ODER#1", "somebody who is gone")),
            SimulatedSet("15", "community_patrons old"),
        ],
        daily_quota=1_000,
    )


@pytest.fixture
def alma(institution: SimulatedInstitution) -> Alma:
    """The institution's Alma: no latency, no limit per second, a fixed day."""
    return Alma([institution], per_second=None, today=lambda: TODAY)


@pytest.fixture
def call(alma: Alma) -> Caller:
    """A caller with the institution's own key."""
    return Caller(alma)
