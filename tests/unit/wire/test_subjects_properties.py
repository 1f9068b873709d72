"""Subjects against the rules of NATS, whatever the columns hold."""

from __future__ import annotations

import contextlib
import re
from urllib.parse import unquote

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from outbox_operator.errors import SpecError
from outbox_operator.wire.subjects import (
    COLUMNS,
    SubjectTemplate,
    covers,
    escape_token,
    first_overlap,
    is_valid_filter,
    overlaps,
    widest,
)

SETTINGS = settings(database=None, deadline=None, derandomize=True, max_examples=300)

texts = st.text(max_size=12) | st.text(st.sampled_from("ab.*> %_\t\n\x00\x7fé🦊"), max_size=12)
columns = st.fixed_dictionaries(dict.fromkeys(COLUMNS, texts))
templates = st.lists(
    st.lists(st.sampled_from(["a", "B", "-", *(f"{{{column}}}" for column in COLUMNS)]), min_size=1)
    .map("".join),
    min_size=1, max_size=4,
).map(".".join)  # fmt: skip
tokens = st.sampled_from(["a", "b", "c", "*"])
filters = st.tuples(st.lists(tokens, min_size=1, max_size=4), st.booleans()).map(
    lambda parts: ".".join(parts[0] + [">"] * parts[1])
)
subjects = st.lists(st.sampled_from("abc"), min_size=1, max_size=6).map(".".join)


def matches(wide: str, subject: str) -> bool:
    """As NATS does it."""
    pattern = re.escape(wide).replace(r"\*", r"[^.]+").replace(r">", r".+")
    return re.fullmatch(pattern, subject) is not None


@SETTINGS
@given(texts)
def test_any_text_becomes_one_token_and_back(text: str) -> None:
    token = escape_token(text)
    assert token
    assert not set(token) & set(" .*>\t\n\r\x00\x7f")
    assert unquote(token, errors="strict") == (text or "_")


@SETTINGS
@given(templates, columns)
def test_every_subject_is_valid_and_under_the_filter_of_its_template(
    text: str, row: dict[str, str]
) -> None:
    template = SubjectTemplate.parse(text)
    subject = template.render(row)
    assume(len(subject.encode()) <= 1024)
    assert is_valid_filter(subject)
    assert covers(template.filter(), subject)
    assert matches(template.filter(), subject)


@SETTINGS
@given(st.sampled_from(["", "a.", "{schema}."]), templates, columns, columns, st.integers(0, 62))
def test_shards_that_are_told_apart_share_no_subject(
    before: str, after: str, one: dict[str, str], two: dict[str, str], first: int
) -> None:
    template, second = SubjectTemplate.parse(f"{before}{{shard}}.{after}"), first + 1
    assert template.separates_shards()
    subject = template.render({**one, "shard": str(first)})
    assert covers(template.filter(shard=first), subject)
    assert not covers(template.filter(shard=second), subject)
    assert not overlaps(template.filter(shard=first), template.filter(shard=second))
    other = template.render({**two, "shard": str(second)})
    assert subject != other


@SETTINGS
@given(filters, subjects)
def test_a_subject_is_covered_as_nats_matches_it(wide: str, subject: str) -> None:
    assert covers(wide, subject) == matches(wide, subject)


@SETTINGS
@given(filters, filters, st.lists(subjects, max_size=30))
def test_covering_and_overlapping_agree_with_matching(one: str, two: str, some: list[str]) -> None:
    for subject in some:
        if covers(one, two) and matches(two, subject):
            assert matches(one, subject)
        if matches(one, subject) and matches(two, subject):
            assert overlaps(one, two)
    assert overlaps(one, two) == overlaps(two, one)
    assert not covers(one, two) or overlaps(one, two)


@SETTINGS
@given(st.text(max_size=20))
def test_a_template_is_refused_or_makes_subjects(text: str) -> None:
    template = None
    with contextlib.suppress(SpecError):
        template = SubjectTemplate.parse(text)
    if template is None:
        return
    subject = template.render(dict.fromkeys(COLUMNS, "x"))
    assert len(subject.encode()) > 1024 or is_valid_filter(subject)


@SETTINGS
@given(st.lists(filters | st.just(">"), max_size=8, unique=True))
def test_many_filters_are_compared_as_two_are(several: list[str]) -> None:
    pairs = [(a, b) for b in range(len(several)) for a in range(b)]
    wanted = next((pair for pair in pairs if overlaps(*map(several.__getitem__, pair))), None)
    assert first_overlap(several) == wanted
    assert widest(several) == [
        one for one in several if not any(covers(other, one) for other in several if other != one)
    ]


def test_a_filter_that_is_there_twice_overlaps_itself() -> None:
    assert first_overlap(["a.b", "a.*.c", "a.b", "a.>"]) == (0, 2)
