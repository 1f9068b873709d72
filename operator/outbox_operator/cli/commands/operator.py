"""`outbox operator`: looks after the resources of a cluster or of some namespaces."""

from __future__ import annotations

import argparse
import os
from typing import Final

HELP: Final = "run the Kubernetes operator"
EXTRA: Final = "operator"

_FLAGS: Final = {
    "namespaces": "namespaces to look after, with commas between them; default: all",
    "image": "image of the relay and consumer pods",
    "log-level": "DEBUG, INFO, WARNING or ERROR; default: INFO",
    "health-port": "port of /healthz, /readyz and /metrics; default: 8080",
    "lease-name": "Lease that the leader holds; default: outbox-operator",
    "lease-namespace": "where the Lease is; default: the pod's namespace",
    "identity": "who this process is in the Lease; default: the host name",
    "slices": "slices of the namespaces, each with a leader and a Lease; default: 1",
    "may-lead": "which of them this process may lead, as in 0,2; default: any",
    "workers": "objects worked on at once; default: 20",
    "postgres-connections": "most connections to one PostgreSQL server; default: 20",
    "deletion-deadline": "seconds after which a deleted object is let go; default: 120",
}


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options; each has an environment variable `OUTBOX_…` of the same name."""
    for name, text in _FLAGS.items():
        parser.add_argument(f"--{name}", help=f"{text} (OUTBOX_{_key(name)})")


def run(args: argparse.Namespace) -> int:
    """Run until SIGTERM; what ends it before that is raised."""
    from outbox_operator.controller import app, settings

    given = {_key(name): getattr(args, name.replace("-", "_")) for name in _FLAGS}
    app.main(settings.from_environment(os.environ, given))
    return 0


def _key(flag: str) -> str:
    return flag.replace("-", "_").upper()
