"""An acknowledgement counts once a question behind it was answered without a complaint."""

from __future__ import annotations

from outbox_operator.consumer.acknowledgements import Acknowledgements


def test_what_nobody_complained_of_is_taken() -> None:
    made = Acknowledgements()
    assert not made.ask()
    made.sent |= {1: "a", 2: "b", 3: "a"}
    assert made.ask()
    assert made.accepted() == {"a": 2, "b": 1}
    assert made.accepted() == {}
    assert not made.ask()


def test_what_was_sent_behind_the_question_waits_for_the_next() -> None:
    made = Acknowledgements()
    made.sent[1] = "a"
    made.ask()
    made.sent[2] = "a"
    assert made.accepted() == {"a": 1}
    assert made.ask()
    assert made.accepted() == {"a": 1}


def test_a_question_without_an_answer_is_asked_again() -> None:
    made = Acknowledgements()
    made.sent[1] = "a"
    assert made.ask()
    assert made.ask()
    assert made.accepted() == {"a": 1}


def test_what_is_refused_is_not_counted_wherever_it_is() -> None:
    made = Acknowledgements()
    made.sent |= {1: "a", 2: "a"}
    made.ask()
    made.sent |= {3: "a", 4: "a"}
    assert made.refused(2, with_earlier=False)
    assert made.refused(3, with_earlier=False)
    assert not made.refused(9, with_earlier=False)
    assert made.accepted() == {"a": 1}
    made.ask()
    assert made.accepted() == {"a": 1}


def test_one_that_stands_for_all_earlier_ones() -> None:
    made = Acknowledgements()
    made.sent |= {1: "a", 2: "a"}
    made.ask()
    made.sent |= {3: "a", 4: "a"}
    assert made.refused(3, with_earlier=True)
    made.ask()
    assert made.accepted() == {"a": 1}
