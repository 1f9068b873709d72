"""Run the demo from a checkout: `python hack/demo`. Standard library only."""

import sys
from pathlib import Path

if sys.version_info < (3, 11):  # noqa: UP036 - run before anything is installed
    sys.exit(f"the demo needs Python 3.11 or newer, found {sys.version.split()[0]}")

sys.path[0] = str(Path(__file__).resolve().parent.parent)

from demo.cli import main  # noqa: E402

sys.exit(main())
