"""What is said of an error where payloads must not be."""

from __future__ import annotations

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
