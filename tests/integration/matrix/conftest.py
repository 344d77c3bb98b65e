"""The handlers for the failure matrix, loaded once, and a service of its own for each case."""

from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest

from patron_lifecycle.observability import logger
from sandbox.local_aws import LocalAws
from tests.integration.matrix.cloud import Cloud
from tests.integration.matrix.service import Make, Service


@pytest.fixture(scope="session")
def loaded(local_aws: LocalAws, table_definition: dict[str, Any]) -> Cloud:
    """The handlers. Its table and queues go, and come back empty, with each case."""
    cloud = Cloud(local_aws, table_definition)
    cloud.clear()
    return cloud


@pytest.fixture
def cloud(loaded: Cloud, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cloud]:
    """The handlers, with empty table and queues."""
    level = logger.log_level
    logger.setLevel("CRITICAL")
    loaded.renew()
    loaded.enter(monkeypatch)
    yield loaded
    loaded.clear()
    logger.setLevel(level)


@pytest.fixture
def make(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> Make:
    """Makes the service of a case."""
    return partial(Service, cloud, monkeypatch)
