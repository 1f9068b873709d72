"""The table of options is complete, and the page shows it."""

from __future__ import annotations

from pathlib import Path

import pytest

from outbox_operator.api.v1alpha1.consumer import DurableConfig
from outbox_operator.api.v1alpha1.stream import EventStreamSpec, StreamConfig, unfit_for_outbox
from support.golden import assert_golden_text
from support.stream_options import CONSUMER, ELSEWHERE, STREAM, UNTRIED, Option, page

PAGE = Path(__file__).resolve().parents[3] / "docs/reference/stream-options.md"


def test_every_setting_has_a_row() -> None:
    assert {option.field for option in STREAM} | UNTRIED == set(StreamConfig.model_fields)
    assert {option.field for option in CONSUMER} | ELSEWHERE == set(DurableConfig.model_fields)


@pytest.mark.parametrize("option", STREAM, ids=str)
def test_what_the_crd_refuses_is_refused_by_reference_too(option: Option) -> None:
    spec = EventStreamSpec.model_validate(
        {"nats": {"url": "nats://nats:4222"}, "name": "ORDERS", **option.fields}
    )
    assert (unfit_for_outbox(spec) is not None) == bool(option.refused)


def test_the_page_shows_the_table() -> None:
    assert_golden_text(PAGE, page())
