"""Verbs with and without NAME: no option is dropped in the form that it is not of."""

from __future__ import annotations

import argparse
from typing import Final

import pytest

from outbox_operator.cli import main as cli
from outbox_operator.cli.commands import archive

BOTH: Final = "both"
NAMED: Final = "with NAME"
UNNAMED: Final = "without NAME"
IN_CLUSTER: Final = "with NAME, in a cluster"
_OF_ALL: Final = {
    "--namespace": NAMED, "--context": IN_CLUSTER, "--kubeconfig": IN_CLUSTER, "--output": NAMED,
    "--timeout": NAMED, "--login-file": UNNAMED, "--config": UNNAMED, "--log-level": UNNAMED,
}  # fmt: skip
OPTIONS: Final = {
    "verify": {
        **_OF_ALL, "--login-secret": IN_CLUSTER, "--public-key": BOTH, "--known": BOTH,
        "--kept": BOTH,
    },
    "export": {**_OF_ALL, "--into": BOTH, "--where": BOTH},
}  # fmt: skip
"""Where each option of each verb of two forms holds."""
VALUES: Final = {"--output": "text", "--timeout": "3600", "--log-level": "info"}
"""The defaults, which can be given, too."""
ROWS: Final = [(verb, option, of) for verb, rows in OPTIONS.items() for option, of in rows.items()]


def test_every_option_has_its_place() -> None:
    parser = argparse.ArgumentParser()
    archive.configure(parser)
    [verbs] = (one for one in parser._actions if isinstance(one, argparse._SubParsersAction))
    found = {
        verb: {one.option_strings[-1] for one in choice._actions if one.option_strings}
        for verb, choice in verbs.choices.items()
        if any(one.dest == "name" for one in choice._actions)
    }
    assert found == {verb: {"--help", *rows} for verb, rows in OPTIONS.items()}


@pytest.mark.parametrize(("verb", "option", "of"), ROWS)
@pytest.mark.parametrize("form", ["", "audit", "on a laptop"])
def test_an_option_of_the_other_form_is_refused(
    capsys: pytest.CaptureFixture[str], verb: str, option: str, of: str, form: str
) -> None:
    words = ["dev"] if form == "on a laptop" else []
    words += ["archive", verb, f"{option}={VALUES.get(option, 'none/x=y.csv')}"]
    words += ["audit"] if form else []
    words += ["--into=a.csv"] if verb == "export" and option != "--into" else []
    assert cli.main(words) in (1, 2)
    said = capsys.readouterr().err
    if not form and of in (NAMED, IN_CLUSTER):
        assert f"archive: {option} holds with NAME alone, and none is given\n" in said
    elif form == "on a laptop" and of == UNNAMED:
        assert f"archive: {option} is for `outbox archive` without `dev`, and this is " in said
    elif form and of == UNNAMED:
        assert f"archive: {option} holds without NAME alone, found 'audit'\n" in said
    elif form == "on a laptop" and of == IN_CLUSTER:
        assert f"archive: {option} is of a cluster, and this " in said
    else:
        assert "holds with" not in said
        assert f"{option} is of" not in said
