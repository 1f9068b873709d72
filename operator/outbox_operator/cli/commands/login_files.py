"""`outbox login-files`: write a pod's logins as `psql` and `nats` take them, into a folder.

`kubectl outbox psql` and `nats` run it as the first container of a pod that lives for one session:
the client's container then has the logins in a volume in memory, and nothing of them in its
specification or on a command line.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from outbox_operator.wire.config import RelayConfig

HELP: Final = "write a relay's logins for psql and nats, for `kubectl outbox`"
EXTRA: Final = "relay"

_PRIVATE: Final = 0o600
_AUTHORITIES: Final = "/etc/ssl/certs/ca-certificates.crt"
"""Of the system, in our image."""
_CONTEXT: Final = "outbox"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("client", choices=("psql", "nats"), help="for which program")
    parser.add_argument("directory", metavar="DIRECTORY", type=Path, help="where; it is there")
    parser.add_argument(
        "--config", metavar="FILE", help="JSON configuration (default: the value of OUTBOX_CONFIG)"
    )


def run(args: argparse.Namespace) -> int:
    """Write `login.sh`, to be read by a shell, and what it names."""
    from outbox_operator import documents
    from outbox_operator.wire.config import RelayConfig

    text, name = documents.read(args.config, "relay")
    config = documents.parse(RelayConfig, text, name)
    write = _psql if args.client == "psql" else _nats
    variables = {"HOME": str(args.directory), **write(config, args.directory)}
    lines = [f"export {name}={shlex.quote(value)}\n" for name, value in variables.items()]
    _file(args.directory, "login.sh", "".join(lines))
    return 0


def _psql(config: RelayConfig, directory: Path) -> Mapping[str, str]:
    from outbox_operator.adapters.postgres.libpq import environment
    from outbox_operator.adapters.postgres.url import Login, resolve

    target = resolve(Login.from_files(config.database))
    authorities = target.ca_pem
    if authorities is None and target.sslmode.startswith("verify"):
        # Ours are those of the system, which the client's image need not have.
        places = (ssl.get_default_verify_paths().cafile or _AUTHORITIES, _AUTHORITIES)
        found = next((Path(one) for one in places if Path(one).is_file()), None)
        authorities = None if found is None else found.read_text("utf-8")
    return environment(
        target,
        ca=_file(directory, "ca.crt", authorities),
        cert=_file(directory, "tls.crt", target.cert_pem),
        key=_file(directory, "tls.key", target.key_pem),
    )


def _nats(config: RelayConfig, directory: Path) -> Mapping[str, str]:
    from outbox_operator.adapters.nats.auth import NatsAuth
    from outbox_operator.adapters.nats.context_file import context

    auth = NatsAuth.from_files(config.jetstream)
    auth.check()
    texts = {
        "creds": ("user.creds", auth.creds),
        "nkey": ("user.nk", auth.nkey_seed),
        "ca": ("ca.crt", auth.ca_pem),
        "cert": ("tls.crt", auth.cert_pem),
        "key": ("tls.key", auth.key_pem),
    }
    written = {field: _file(directory, *one) for field, one in texts.items()}
    files = {field: path for field, path in written.items() if path is not None}
    folder = directory / "nats" / "context"
    folder.mkdir(parents=True, exist_ok=True)
    _file(folder, f"{_CONTEXT}.json", json.dumps(context(auth, files)))
    return {"XDG_CONFIG_HOME": str(directory), "NATS_CONTEXT": _CONTEXT}


def _file(directory: Path, name: str, text: str | None) -> str | None:
    """Write a file that only we may read, and say where; None: there is nothing to write."""
    if text is None:
        return None
    path = directory / name
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, _PRIVATE), "w") as file:
        file.write(text)
    return str(path)
