"""AWS clients that can reach nobody, for modules that say which service they are of: `SERVICE = "sqs"`."""

import random
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.stub import Stubber


@pytest.fixture(autouse=True)
def _same_chance_each_time() -> None:
    """The waits between attempts, which are drawn at random, are the same whenever a test is run."""
    random.seed(0)


@pytest.fixture
def client(request: pytest.FixtureRequest) -> Iterator[Any]:
    """A client of the module's service, which tries once."""
    client = boto3.client(
        request.module.SERVICE,
        region_name="us-east-2",
        aws_access_key_id="test",
        aws_secret_access_key="test",
        config=Config(retries={"total_max_attempts": 1}),
    )
    yield client
    client.close()


@pytest.fixture
def stub(client: Any) -> Iterator[Stubber]:
    """Answers in the place of the service; all of them have to be asked for."""
    with Stubber(client) as stubber:
        yield stubber
        stubber.assert_no_pending_responses()
