"""Where the recorded and official Alma data lies: beside the repository, never in it. Tests skip where it is absent."""

from pathlib import Path

import pytest

_ALMA = Path(__file__).parents[2] / "shared" / "alma"
SAMPLES = _ALMA / "samples"
OPENAPI = _ALMA / "openapi"
needs_samples = pytest.mark.skipif(not SAMPLES.is_dir(), reason=f"no recorded replies: {SAMPLES} is absent")
needs_openapi = pytest.mark.skipif(not OPENAPI.is_dir(), reason=f"no official documents: {OPENAPI} is absent")
