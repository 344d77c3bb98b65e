"""The failure matrix's own ground: without a fault the small library's runs end as they should."""

from typing import Literal

import pytest
from samtranslator.yaml_helper import yaml_parse

from sandbox.stack import ROOT
from tests.integration.matrix.cloud import MAX_RECEIVES
from tests.integration.matrix.service import UNDISTURBED, Make

pytestmark = pytest.mark.untraced


@pytest.mark.parametrize("action", ["deactivate", "purge"])
def test_undisturbed(make: Make, action: Literal["deactivate", "purge"]) -> None:
    """Without a fault everybody due is changed, all others stay, and nothing is left over."""
    service = make()
    run_id = service.start(action)
    service.pump()
    service.judge(run_id)
    assert service.told(run_id) == UNDISTURBED[action]
    assert not service.failures


def test_the_queue_is_as_the_template_makes_it() -> None:
    """A message of the matrix is given out as often as one of the deployed queue."""
    resources = yaml_parse((ROOT / "template.yaml").read_text("utf-8"))["Resources"]
    assert resources["WorkQueue"]["Properties"]["RedrivePolicy"]["maxReceiveCount"] == MAX_RECEIVES
