"""The relay of the release before, as far as messages go: `python relay_with_ids.py relay`.

Every message of it has an id.
"""

from __future__ import annotations

import sys

from outbox_operator.adapters.nats import publisher
from outbox_operator.cli.main import main

if __name__ == "__main__":
    vars(publisher)["keeps_what_came_last"] = lambda config: False
    sys.exit(main(sys.argv[1:]))
