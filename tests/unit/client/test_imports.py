"""The library is there for every application: nothing else has to be installed for it."""

from __future__ import annotations

import json
import subprocess
import sys

IMPORTED = """
import json, sys
before = set(sys.modules)
import outbox_operator.client
names = {name.partition(".")[0] for name in set(sys.modules) - before}
print(json.dumps(sorted(names - sys.stdlib_module_names - {"__mp_main__"})))
"""


def test_it_imports_no_third_party() -> None:
    done = subprocess.run(
        [sys.executable, "-c", IMPORTED], capture_output=True, text=True, check=True, timeout=60
    )
    assert json.loads(done.stdout) == ["outbox_operator"]
