"""The Grafana dashboards of the chart, made by code: JSON into its `files/dashboards`.

`panels` knows what panels look like, the other modules what is to be seen. Labels are those of
docs/reference/metrics.md; `tests/integration/dashboards` asks a real Prometheus every query.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

from grafana_foundation_sdk.cog.encoder import JSONEncoder

from generate.dashboards import operator, pipeline, pipelines

FOLDER: Final = Path("charts/outbox-operator/files/dashboards")


def files() -> dict[Path, str]:
    """Path to text of each dashboard."""
    return {
        FOLDER / f"{name}.json": json.dumps(made.build(), cls=JSONEncoder, indent=1) + "\n"
        for name, made in (
            ("pipelines", pipelines.dashboard()),
            ("pipeline", pipeline.dashboard()),
            ("operator", operator.dashboard()),
        )
    }
