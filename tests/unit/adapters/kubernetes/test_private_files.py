"""Keys of a kubeconfig are in no folder, so that they cannot stay there."""

from __future__ import annotations

import base64
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from outbox_operator.adapters.kubernetes import private_files
from support.answering import kubeconfig
from support.certificates import Certificates

PROGRAM = """
import asyncio, os, signal, ssl, sys
from outbox_operator.adapters.kubernetes import login
found = asyncio.run(login.find(sys.argv[1])).configuration
context = ssl.create_default_context(cafile=found.ssl_ca_cert)
context.load_cert_chain(found.cert_file, found.key_file)
print(open(found.key_file).read(), end="", flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def b64(made: Certificates, name: str) -> str:
    """A file as kubeconfigs hold it."""
    return base64.b64encode(made.path(name).read_bytes()).decode()


@pytest.mark.skipif(not private_files.CAN, reason="no files in memory alone on this system")
def test_a_process_that_is_killed_leaves_no_key_behind(tmp_path: Path) -> None:
    made = Certificates(tmp_path)
    user = {
        "client-certificate-data": b64(made, "client.pem"),
        "client-key-data": b64(made, "client.key"),
    }
    authority = {"certificate-authority-data": b64(made, "ca.pem")}
    path = kubeconfig(tmp_path, "https://127.0.0.1:1", user, **authority)
    folder = tmp_path / "temporary"
    folder.mkdir()
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(path)],
        env={"TMPDIR": str(folder), "HOME": str(tmp_path), "PATH": "/usr/bin:/bin"},
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert done.stdout == made.text("client.key")
    assert list(folder.iterdir()) == []


def test_the_same_content_is_one_file_and_another_is_another() -> None:
    if private_files.CAN:
        assert private_files.hold("a") == private_files.hold("a") != private_files.hold(b"b")
        assert Path(private_files.hold(b"b")).read_bytes() == b"b"
