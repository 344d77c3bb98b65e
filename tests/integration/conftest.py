"""Local AWS for the integration tests."""

from collections.abc import Iterator

import pytest

from sandbox.local_aws import LocalAws


@pytest.fixture(scope="session")
def local_aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalAws]:
    """An AWS on this machine, with nothing in it; it ends with the tests."""
    aws = LocalAws.start(tmp_path_factory.mktemp("aws"))
    yield aws
    aws.stop()
