"""A registry on this machine, in the network namespace of a cluster's node: nothing leaves either.

Containerd speaks HTTP with what is called `localhost`, without being told.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from localkube import processes

from release.programs import program
from release.stamp import ReleaseError

HOST = "localhost:5000"
_CONFIG = """\
version: 0.1
log: {{level: warn}}
storage: {{filesystem: {{rootdirectory: {folder}}}}}
http: {{addr: "127.0.0.1:5000"}}
"""


@contextlib.contextmanager
def serving(within: Sequence[str], scratch: Path) -> Iterator[None]:
    """A registry that is empty at first, for as long as the block runs.

    Args:
        within: words before each command, which enter a network namespace.
        scratch: a folder for what is pushed.

    Raises:
        ReleaseError: it does not answer.
    """
    config = scratch / "registry.yml"
    config.write_text(_CONFIG.format(folder=json.dumps(str(scratch / "registry"))))
    server = processes.spawn(
        [*within, program("registry"), "serve", str(config)],
        scratch / "registry.log",
        {"PATH": os.environ["PATH"], "OTEL_TRACES_EXPORTER": "none"},
    )
    probe = f"import urllib.request as r; r.urlopen('http://{HOST}/v2/', timeout=5)"
    asked = [*within, sys.executable, "-c", probe]
    quiet = {name: value for name, value in os.environ.items() if "proxy" not in name.lower()}

    def answers() -> bool:
        done = subprocess.run(asked, capture_output=True, check=False, env=quiet, timeout=60)
        return done.returncode == 0

    try:
        if not processes.wait_until(answers, 60, interval=0.5):
            raise ReleaseError(f"the registry: {(scratch / 'registry.log').read_text()[-2000:]}")
        yield
    finally:
        processes.stop([server], grace=5)
