"""`outbox login-files`: logins as psql and nats take them."""

from __future__ import annotations

import json
import stat
import subprocess
from pathlib import Path
from typing import Any, Final

import pytest

from outbox_operator.cli import main as cli

_HARD: Final = "it's $HOME: \\ and `x`"


def config(folder: Path, database: dict[str, Any], nats: dict[str, Any]) -> str:
    """A relay's configuration."""
    path = folder / "config.json"
    path.write_text(
        json.dumps(
            {
                "namespace": "shop", "pipeline": "orders", "stream": "ORDERS", "subject": "orders",
                "database": database, "nats": {"url": "nats://nats:4222", **nats},
            }
        )
    )  # fmt: skip
    return str(path)


def variables(folder: Path) -> dict[str, str]:
    """What a shell has that read the file, and had nothing before."""
    done = subprocess.run(
        ["sh", "-c", f". {folder}/login.sh && env -0"],
        env={"PATH": "/usr/bin:/bin"}, capture_output=True, text=True, check=True, timeout=30,
    )  # fmt: skip
    return dict(one.split("=", 1) for one in done.stdout.split("\0") if "=" in one)


def test_psql(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    login, session = tmp_path / "login", tmp_path / "session"
    login.mkdir()
    session.mkdir()
    (login / "url").write_text(
        "postgresql+asyncpg://me:a%20b@db-1:5433,db-2/shop?sslmode=require"
        "&options=-c%20search_path%3Da"
    )
    for name, text in (("password", _HARD), ("ca", "CA"), ("crt", "CRT"), ("key", "KEY")):
        (login / name).write_text(text)
    path = config(
        tmp_path,
        {
            "login_directory": str(login), "ca_file": f"{login}/ca", "cert_file": f"{login}/crt",
            "key_file": f"{login}/key",
        },
        {},
    )  # fmt: skip
    assert cli.main(["login-files", "psql", str(session), "--config", path]) == 0
    found = variables(session)
    wanted = {
        "PGHOST": "db-1,db-2", "PGPORT": "5433,5432", "PGDATABASE": "shop", "PGUSER": "me",
        "PGPASSWORD": "a b", "PGSSLMODE": "require", "PGOPTIONS": "-c search_path=a",
        "PGTARGETSESSIONATTRS": "read-write", "PGSSLROOTCERT": f"{session}/ca.crt",
        "PGSSLCERT": f"{session}/tls.crt", "PGSSLKEY": f"{session}/tls.key",
    }  # fmt: skip
    assert wanted.items() <= found.items()
    assert (session / "tls.key").read_text() == "KEY"
    assert {stat.S_IMODE(one.stat().st_mode) for one in session.iterdir()} == {0o600}
    (login / "url").unlink()
    for name, text in (("host", "db"), ("dbname", "shop"), ("username", "me")):
        (login / name).write_text(text)
    assert cli.main(["login-files", "psql", str(session), "--config", path]) == 0
    found = variables(session)
    assert found["PGPASSWORD"] == _HARD
    assert "PGTARGETSESSIONATTRS" not in found
    assert capsys.readouterr() == ("", "")


def test_nats(tmp_path: Path) -> None:
    for name in ("username", "password", "ca.crt"):
        (tmp_path / name).write_text(f"the {name}\n")
    files = {
        "username_file": f"{tmp_path}/username", "password_file": f"{tmp_path}/password",
        "ca_file": f"{tmp_path}/ca.crt", "tls_handshake_first": True, "domain": "hub",
    }  # fmt: skip
    path = config(tmp_path, {"url_file": "none"}, files)
    session = tmp_path / "session"
    session.mkdir()
    assert cli.main(["login-files", "nats", str(session), "--config", path]) == 0
    found = variables(session)
    folder = Path(found["XDG_CONFIG_HOME"], "nats", "context")
    assert json.loads((folder / f"{found['NATS_CONTEXT']}.json").read_text()) == {
        "description": "of the pipeline", "url": "nats://nats:4222", "user": "the username",
        "password": "the password", "ca": f"{session}/ca.crt", "tls_first": True,
        "jetstream_domain": "hub",
    }  # fmt: skip


def test_what_cannot_be_read_is_said_without_a_value(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "url").write_text("postgresql://me:hidden@/shop")
    path = config(tmp_path, {"url_file": f"{tmp_path}/url"}, {})
    assert cli.main(["login-files", "psql", str(tmp_path), "--config", path]) == 1
    said = capsys.readouterr().err
    assert "names no host" in said
    assert "hidden" not in said
    assert not (tmp_path / "login.sh").exists()
