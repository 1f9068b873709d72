"""Where the `--` belongs that somebody left out."""

from __future__ import annotations

import argparse
import shlex

import pytest

from outbox_operator.cli import main
from outbox_operator.cli.laptop.parser import LaptopParser
from outbox_operator.cli.passing_on import with_dashes


@pytest.mark.parametrize(
    ("typed", "on_a_laptop", "meant"),
    [
        ("nats orders stream ls -a", True, "nats orders -- stream ls -a"),
        ("nats orders stream ls -a", False, "nats orders -- stream ls -a"),
        ("nats orders -n shop stream ls -a", False, "nats orders -n shop -- stream ls -a"),
        ("nats -n shop orders stream -a ls", False, "nats -n shop orders -- stream -a ls"),
        ("nats orders stream ls --names", False, "nats orders -- stream ls --names"),
        ("nats orders stream ls", False, None),
        ("nats --trace rtt server", False, "nats NAME -- --trace rtt server"),
        ("nats --trace rtt server", True, "nats -- --trace rtt server"),
        ("nats orders --timeout=5 --context", False, None),
        ("nats orders --time 5", False, "nats orders -- --time 5"),
        ("psql -c 'select 1'", True, "psql -- -c 'select 1'"),
        ("psql -c 'select 1'", False, "psql NAME -- -c 'select 1'"),
        ("psql -c 'select 1' orders", True, "psql orders -- -c 'select 1'"),
        ("psql -n shop -c 'select 1' orders", False, "psql -n shop orders -- -c 'select 1'"),
        ("psql orders -c 'select 1' shop", False, "psql orders -- -c 'select 1' shop"),
        ("psql orders -hlocalhost", True, "psql orders -- -hlocalhost"),
        ("psql orders -nshop -c -", True, "psql orders -nshop -- -c -"),
        ("psql orders -h", True, None),
    ],
)
def test_where_the_dashes_belong(typed: str, on_a_laptop: bool, meant: str | None) -> None:
    words = shlex.split(typed)
    parser = LaptopParser() if on_a_laptop else argparse.ArgumentParser()
    main.load(words[0]).configure(parser)
    found = with_dashes(parser, words, [])
    assert (None if found is None else shlex.join(found)) == meant
