"""`outbox` that asks its stream once, so that a broker that hangs meets events under way.

Otherwise it asks again after some seconds, before it publishes, and a test that took longer would
have nothing under way. Run as `python -P trusting.py <verb>`.
"""

from __future__ import annotations

import sys

from outbox_operator.cli.main import main
from outbox_operator.relay import stream

if __name__ == "__main__":
    stream.FACTS_SECONDS = 3600.0  # type: ignore[misc]
    sys.exit(main())
