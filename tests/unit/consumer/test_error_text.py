"""What is said of an error where payloads must not be."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from outbox_operator.consumer import error_text


def raised(error: BaseException) -> str:
    try:
        raise error
    except BaseException as caught:  # noqa: BLE001
        return error_text.describe(caught)


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ('answered 422: {"detail": [{"input": {"card": "4111"}}]}', "answered 422"),
        ("answered 302; redirects are not followed, set the final URL: 4111", "answered 302"),
        ("no answer within 30 s", "no answer within 30 s"),
        ("not yet", "not yet"),
        ("", ""),
        (raised(ValueError("card 4111")), "ValueError"),
        (raised(ValueError()), "ValueError"),
        (raised(SyntaxError("4111", ("4111", 1, 1, "card 4111", 1, 2))), "SyntaxError"),
        (raised(UnicodeDecodeError("utf-8", b"4111", 0, 1, "4111")), "UnicodeDecodeError"),
    ],
)
def test_the_kind_of_an_error_has_no_words_of_others_in_it(text: str, kind: str) -> None:
    assert error_text.kind(text) == kind


def loads() -> None:
    json.loads("{")


def chained() -> None:
    try:
        loads()
    except ValueError as error:
        raise KeyError("order") from error


def grouped() -> None:
    raise ExceptionGroup("several", [ValueError("one"), OSError("two")])


def deep() -> None:
    try:
        deep()
    except RecursionError:
        raise RuntimeError("x" * 10_000) from ValueError("behind")


@pytest.mark.parametrize(
    ("function", "wanted"),
    [
        (loads, [" at loads (", "test_error_text.py", " < ", ", inside raw_decode ("]),
        (chained, ["KeyError: 'order' at chained (", "caused by json.decoder.JSONDecodeError: "]),
        (grouped, ["ExceptionGroup: several", "[ValueError: one]", "[OSError: two]"]),
        (deep, ["RuntimeError: xxx"]),
    ],
)
def test_where_it_went_wrong_is_told_by_the_applications_own_lines(
    function: Callable[[], None], wanted: list[str]
) -> None:
    try:
        function()
    except Exception as error:  # noqa: BLE001
        text = error_text.describe(error)
    places = [text.find(word) for word in wanted]
    assert -1 not in places, text
    assert places == sorted(places), text
    assert "\n" not in text
    assert len(text) <= error_text.ERROR_CHARACTERS
