"""Entry point of ``python3 -m localkube``."""

from __future__ import annotations

import sys

from localkube.cli import main

sys.exit(main())
