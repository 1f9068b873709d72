"""The picture of the README shows what a run has said, and asks no other server for anything."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest
from demo import screen
from demo.picture import END, LIVE, picture, shown

from support.kube import ROOT

LOG = """\
==> Prerequisites
==> Live: orders
    Words.
       0 s   orders committed 1
    NAME   READY
    old    True
       3 s   orders committed 2
       6 s   orders committed 3
       9 s   orders committed 4
      12 s   orders committed 5
    NAME   READY
    orders   True

    NAME    READY
    mails   True

==> The shop closes for a moment; consumers catch up
       0 s   orders committed 6
==> Summary
    billing  6 of 6
==> The cluster stays up
"""


def test_the_last_table_and_the_end_are_shown() -> None:
    assert shown(LOG.replace("orders   True", "\x1b[1morders   True\x1b[0m\r")) == [
        "$ make demo",
        "…",
        "==> Live: orders",
        *LOG.splitlines()[6:15],
        "",
        "==> Summary",
        "    billing  6 of 6",
    ]


@pytest.mark.parametrize("part", ["==> Live", "==> Summary", "==> The cluster", "NAME   READY"])
def test_half_a_run_is_no_picture(part: str) -> None:
    with pytest.raises(ValueError, match="wanted the log of a whole run"):
        shown(LOG.replace(part, ""))


def test_it_is_an_image_with_these_words_that_asks_nobody() -> None:
    drawn = picture(shown(LOG))
    found = "".join(ElementTree.fromstring(drawn).itertext()).replace("\xa0", " ")
    assert "billing  6 of 6" in found
    assert drawn.count("http") == drawn.count('xmlns="http')


def test_the_demo_still_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    screen.title(LIVE.removeprefix("==> "))
    assert capsys.readouterr().out.strip() == LIVE
    course = (ROOT / "hack/demo/cli.py").read_text()
    assert all(f'title("{words.removeprefix("==> ")}' in course for words in (LIVE, END))
