"""Subject templates and filters. The properties are checked over every small subject there is."""

from __future__ import annotations

import itertools

import pytest

from outbox_operator.errors import SpecError
from outbox_operator.wire import subjects
from outbox_operator.wire.subjects import SubjectTemplate

ROW = {
    "event_type": "order.created",
    "partition_key": "customer 42",
    "routing_key": "eu.north",
    "shard": "3",
    "schema": "outbox",
}


@pytest.mark.parametrize(
    ("template", "subject"),
    [
        ("orders", "orders"),
        ("orders.{event_type}", "orders.order.created"),
        ("{event_type}", "order.created"),
        ("{event_type}.v1", "order.created.v1"),
        ("orders.{partition_key}.x", "orders.customer%2042.x"),
        ("orders.p-{shard}", "orders.p-3"),
        ("{schema}.{routing_key}", "outbox.eu.north"),
        ("a{shard}b{shard}", "a3b3"),
    ],
)
def test_render(template: str, subject: str) -> None:
    assert SubjectTemplate.parse(template).render(ROW) == subject


@pytest.mark.parametrize(
    ("value", "token"),
    [
        ("plain-Text_1", "plain-Text_1"),
        ("", "_"),
        ("a.b", "a%2Eb"),
        ("*", "%2A"),
        (">", "%3E"),
        ("50%", "50%25"),
        ("a b\t", "a%20b%09"),
        ("ü", "%C3%BC"),
        ("\x00", "%00"),
    ],
)
def test_escape_token(value: str, token: str) -> None:
    assert subjects.escape_token(value) == token


def test_no_value_escapes_its_place_in_the_subject() -> None:
    template = SubjectTemplate.parse("orders.{partition_key}.done")
    for value in ("", ".", "..", "*", ">", "a.>", "x y", "\r\n", "{event_type}", "é" * 50):
        rendered = template.render({"partition_key": value})
        assert subjects.is_valid_filter(rendered)
        assert subjects.covers("orders.*.done", rendered)


@pytest.mark.parametrize("value", ["order.created", "", ".", "a..b", "a.>", "*", "x y.z"])
def test_hierarchical_values_stay_below_the_prefix(value: str) -> None:
    rendered = SubjectTemplate.parse("orders.{event_type}").render({"event_type": value})
    assert subjects.is_valid_filter(rendered)
    assert subjects.covers("orders.>", rendered)


@pytest.mark.parametrize(
    ("template", "filter_"),
    [
        ("orders", "orders"),
        ("orders.{event_type}", "orders.>"),
        ("{event_type}", ">"),
        ("orders.{partition_key}", "orders.*"),
        ("orders.{partition_key}.x", "orders.*.x"),
        ("orders.p-{shard}.x", "orders.*.x"),
        ("orders.{event_type}.x", "orders.>"),
        ("orders.{shard}.{routing_key}", "orders.*.>"),
        ("orders.x-{event_type}", "orders.>"),
    ],
)
def test_filter_covers_everything_rendered(template: str, filter_: str) -> None:
    parsed = SubjectTemplate.parse(template)
    assert parsed.filter() == filter_
    assert subjects.covers(filter_, parsed.render(ROW))


@pytest.mark.parametrize(
    ("template", "filter_"),
    [
        ("orders.{shard}.{event_type}", "orders.3.>"),
        ("{shard}", "3"),
        ("{schema}.{partition_key}.{shard}", "*.*.3"),
        ("orders.p-{shard}.x", None),
        ("orders.{event_type}.{shard}", None),
        ("orders.{event_type}", None),
        ("orders", None),
    ],
)
def test_filter_of_one_shard(template: str, filter_: str | None) -> None:
    parsed = SubjectTemplate.parse(template)
    assert parsed.separates_shards() == (filter_ is not None)
    assert parsed.filter(shard=3) == (filter_ or parsed.filter())
    assert subjects.covers(parsed.filter(shard=3), parsed.render(ROW))


@pytest.mark.parametrize(
    ("template", "words"),
    [
        ("orders.{colour}", "unknown placeholder {colour}"),
        ("orders.*", "wildcard"),
        ("orders.>", "wildcard"),
        ("orders. x", "space"),
        ("orders.{event_type", "brace"),
        ("orders..x", "empty token"),
        (".orders", "empty token"),
        ("orders.", "empty token"),
        ("", "empty token"),
        ("orders\n", "space"),
    ],
)
def test_bad_templates_are_refused_by_name(template: str, words: str) -> None:
    with pytest.raises(SpecError) as caught:
        SubjectTemplate.parse(template)
    assert repr(template) in str(caught.value)
    assert words in str(caught.value)


TOKENS = ("a", "b", "*")
FILTERS = [
    ".".join(parts)
    for length in (1, 2, 3)
    for parts in itertools.product((*TOKENS, ">"), repeat=length)
    if ">" not in parts[:-1]
]
SUBJECTS = [
    ".".join(parts) for length in (1, 2, 3, 4) for parts in itertools.product("ab", repeat=length)
]


def matches(subject: str, filter_: str) -> bool:
    """Whether NATS delivers a subject to a filter; written down independently of the module."""
    want, have = filter_.split("."), subject.split(".")
    if want[-1] == ">":
        want = want[:-1] + ["*"] * max(1, len(have) - len(want) + 1)
    return len(want) == len(have) and all(w in ("*", h) for w, h in zip(want, have, strict=True))


MATCHED = {filter_: frozenset(s for s in SUBJECTS if matches(s, filter_)) for filter_ in FILTERS}


def test_covers_means_every_subject_of_the_narrow_one_matches_the_wide_one() -> None:
    for wide, narrow in itertools.product(FILTERS, repeat=2):
        assert subjects.covers(wide, narrow) == (MATCHED[narrow] <= MATCHED[wide]), (wide, narrow)


def test_overlaps_means_some_subject_matches_both() -> None:
    for one, other in itertools.product(FILTERS, repeat=2):
        assert subjects.overlaps(one, other) == bool(MATCHED[one] & MATCHED[other]), (one, other)


def test_a_common_subject_matches_both() -> None:
    for one, other in itertools.product(FILTERS, repeat=2):
        found = subjects.common_subject(one, other)
        assert (found is not None) == subjects.overlaps(one, other), (one, other)
        if found is not None:
            assert all(subjects.covers(wide, found) for wide in (one, other)), (one, other)


@pytest.mark.parametrize(
    ("text", "valid"),
    [
        ("a", True),
        ("a.b.>", True),
        ("*.b", True),
        (">", True),
        ("", False),
        ("a..b", False),
        (".a", False),
        ("a.", False),
        ("a.>.b", False),
        ("a*", False),
        ("a.b>", False),
        ("a b", False),
        ("a\x00", False),
        ("a" * 1024, True),
        ("a" * 1025, False),
    ],
)
def test_is_valid_filter(text: str, valid: bool) -> None:
    assert subjects.is_valid_filter(text) is valid


@pytest.mark.parametrize(
    ("subject", "key", "found"),
    [
        ("orders.created.mr%2Esmith", "mr.smith", True),
        ("orders.created.7", "7", True),
        ("orders.of-mr%2Esmith.created", "mr.smith", True),
        ("orders.12345.created", "2", False),
        ("orders.order.created", "e", False),
        ("orders.created", "", False),
    ],
)
def test_names_key(subject: str, key: str, found: bool) -> None:
    assert subjects.names_key(subject, key) is found
