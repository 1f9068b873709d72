"""The note that a process leaves for the next one."""

from __future__ import annotations

from pathlib import Path

import pytest

from outbox_operator.consumer.trials import Trials


def test_a_death_is_found_by_the_next_process(tmp_path: Path) -> None:
    first = Trials("shop", tmp_path)
    assert not first.found
    first.begin("7")
    first.abandon()
    second = Trials("shop", tmp_path)
    assert second.found
    assert second.deaths("7") == 1
    second.begin("7")
    second.abandon()
    third = Trials("shop", tmp_path)
    assert third.deaths("7") == 2
    third.begin("8")
    third.ended("8", survived=True)
    third.begin("7")
    third.ended("7", survived=False)
    third.abandon()
    assert Trials("shop", tmp_path).deaths("7") == 2, "a handler that was stopped did not end it"


def test_nothing_stays_when_there_is_nothing_to_say(tmp_path: Path) -> None:
    trials = Trials("shop", tmp_path)
    assert not list(tmp_path.iterdir()), "written when needed"
    trials.begin("7")
    trials.ended("7", survived=True)
    trials.close()
    assert not list(tmp_path.iterdir())


def test_processes_of_one_consumer_have_a_note_each(tmp_path: Path) -> None:
    first, second = Trials("shop", tmp_path), Trials("shop", tmp_path)
    first.begin("1")
    second.begin("2")
    first.abandon()
    third = Trials("shop", tmp_path)
    assert (third.deaths("1"), third.deaths("2")) == (1, 0)
    second.close()


@pytest.mark.parametrize("text", ["", "{", "[]", '{"trying": 1}', '{"deaths": {"7": "x"}}'])
def test_what_is_no_note_says_nothing(tmp_path: Path, text: str) -> None:
    Trials("shop", tmp_path).begin("7")
    [name] = tmp_path.iterdir()
    name.write_text(text)
    trials = Trials("shop", tmp_path)
    assert not trials.found
    trials.begin("7")
    trials.ended("7", survived=True)
    trials.close()


def test_a_link_of_somebody_elses_is_not_followed(tmp_path: Path) -> None:
    Trials("shop", tmp_path).begin("7")
    [name] = tmp_path.iterdir()
    name.unlink()
    (tmp_path / "precious").write_text("precious")
    name.symlink_to(tmp_path / "precious")
    Trials("shop", tmp_path).begin("7")
    assert (tmp_path / "precious").read_text() == "precious"


def test_a_folder_that_takes_no_files_is_no_trouble() -> None:
    trials = Trials("shop", Path("/proc"))
    trials.begin("7")
    trials.ended("7", survived=True)
    trials.close()
