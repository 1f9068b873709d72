"""What a page shows as a part of a specification is one that works."""

from __future__ import annotations

import re

import pytest
import yaml

from outbox_operator.plan import checks
from support import resources
from support.kube import ROOT


@pytest.mark.parametrize("page", ["scale-with-shards.md"])
def test_a_fragment_of_a_pipeline_is_accepted(page: str) -> None:
    text = (ROOT / "docs/how-to" / page).read_text()
    fragments = re.findall(r"```yaml\n(spec:\n.*?)```", text, re.DOTALL)
    assert fragments
    for fragment in fragments:
        checks.check_pipeline(resources.pipeline(yaml.safe_load(fragment)["spec"]).spec)
