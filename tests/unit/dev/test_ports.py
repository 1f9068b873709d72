"""Ports that stay the same from run to run."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from outbox_operator.embedded.ports import kept_port


def test_a_port_is_kept_until_somebody_else_has_it(tmp_path: Path) -> None:
    file = tmp_path / "port"
    port = kept_port(file)
    with socket.socket() as other:
        other.bind(("127.0.0.1", port))
        other.listen()
        moved = kept_port(file)
    assert moved != port
    assert file.read_text() == f"{moved}\n"


@pytest.mark.parametrize("content", [b"", b"80", b"70000", b"-1", b"\xff", b"9" * 5000])
def test_a_file_that_holds_no_port_of_ours_is_written_anew(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "port"
    file.write_bytes(content)
    port = kept_port(file)
    assert 1024 <= port <= 65535
    assert file.read_text() == f"{port}\n"
