"""Local AWS for the integration tests, and the table of the project's template on it."""

import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from samtranslator.yaml_helper import yaml_parse

from sandbox.local_aws import LocalAws
from sandbox.stack import ROOT


@pytest.fixture(scope="session")
def local_aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalAws]:
    """An AWS on this machine, with nothing in it; it ends with the tests."""
    aws = LocalAws.start(tmp_path_factory.mktemp("aws"))
    yield aws
    aws.stop()


@pytest.fixture(scope="session")
def table_definition() -> dict[str, Any]:
    """The keys and indexes of the table, as template.yaml defines them."""
    resources = yaml_parse((ROOT / "template.yaml").read_text("utf-8"))["Resources"].values()
    (properties,) = [one["Properties"] for one in resources if one["Type"] == "AWS::DynamoDB::Table"]
    wanted = ("AttributeDefinitions", "KeySchema", "GlobalSecondaryIndexes", "BillingMode")
    return {name: properties[name] for name in wanted}


@pytest.fixture
def table(local_aws: LocalAws, table_definition: dict[str, Any]) -> Iterator[Any]:
    """An empty table."""
    table = local_aws.resource("dynamodb").create_table(TableName=f"runs-{uuid.uuid4()}", **table_definition)
    yield table
    table.delete()


@pytest.fixture
def fresh_table(local_aws: LocalAws, table_definition: dict[str, Any]) -> Iterator[Callable[[], Any]]:
    """Makes as many empty tables as are asked for."""
    made = []

    def make() -> Any:
        made.append(local_aws.resource("dynamodb").create_table(TableName=f"runs-{uuid.uuid4()}", **table_definition))
        return made[-1]

    yield make
    for one in made:
        one.delete()
