"""`outbox` that notices sooner when a server hangs: by the same ways, with shorter patience.

It asks its stream once, so that a broker that hangs meets events under way; see `trusting`.
Run as `python -P impatient.py <verb>`.
"""

from __future__ import annotations

import sys

from outbox_operator.adapters.nats import connection
from outbox_operator.cli.main import main
from outbox_operator.relay import progress, stream

if __name__ == "__main__":
    connection._PING_SECONDS = 1  # type: ignore[misc]
    stream.FACTS_SECONDS = 3600.0  # type: ignore[misc]
    progress.ANSWER_SECONDS = 2.0  # type: ignore[misc]
    sys.exit(main())
