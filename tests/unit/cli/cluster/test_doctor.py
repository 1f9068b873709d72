"""How findings are shown."""

from __future__ import annotations

import argparse
from datetime import UTC, datetime
from typing import Final, cast

import pytest

from outbox_operator.adapters.kubernetes.caller import Caller
from outbox_operator.cli.cluster import doctor
from outbox_operator.cli.cluster.session import Session
from outbox_operator.plan.doctor.cluster import Seen
from outbox_operator.plan.doctor.findings import well

NOW: Final = datetime(2026, 1, 31, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("remedy", "shown"),
    [
        ("kubectl get evc", "$ kubectl get evc"),
        ("GRANT pg_read_all_stats TO billing", "=> GRANT pg_read_all_stats TO billing"),
        ("SELECT pg_reload_conf()", "=> SELECT pg_reload_conf()"),
        ("docs: ordering", "docs: ordering"),
        ("an inbox in each consumer keeps", "an inbox in each consumer keeps"),
    ],
)
def test_a_remedy_stands_behind_the_prompt_of_its_place(remedy: str, shown: str) -> None:
    assert doctor._prompted(remedy) == shown


@pytest.mark.parametrize(
    ("namespace", "seen", "said"),
    [
        ("typo", Seen(now=NOW, version="1"), ["namespace typo"]),
        (None, Seen(now=NOW, version="1"), ["the cluster"]),
        ("shop", Seen(now=NOW, version="1", refused={"outboxpipelines": "forbidden"}), []),
        ("shop", Seen(now=NOW, version="1", objects=[{"kind": "EventStream"}]), []),
    ],
)
def test_nothing_to_look_at_is_no_sign_of_health(
    namespace: str | None, seen: Seen, said: list[str]
) -> None:
    args = argparse.Namespace(namespace=namespace, all_namespaces=namespace is None)
    session = Session(args=args, kube=cast(Caller, None))
    found = list(doctor._empty(session, seen))
    assert [one.object for one in found] == said
    assert well(found) is (not said)
