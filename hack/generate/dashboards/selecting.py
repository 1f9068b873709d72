"""Which series the panels of one pipeline are about, and what is asked of them."""

from __future__ import annotations

from typing import Final

from generate.dashboards.panels import quantile

PIPELINE: Final = 'namespace="$namespace",pipeline="$pipeline"'
CONSUMERS: Final = 'namespace="$namespace",consumer=~"$consumer"'
THEIRS: Final = f'{PIPELINE},consumer=~"$consumer"'
"""As the operator tells of consumers; their pods do not know the pipeline, so that the variable has
to be a list of its consumers."""
STEP: Final = "$__rate_interval"


def rate(metric: str, by: str, where: str = PIPELINE) -> str:
    """Of a counter, a second."""
    return f"sum by ({by}) (rate({metric}{{{where}}}[{STEP}]))"


def share(part: float, metric: str, by: str = "", where: str = PIPELINE) -> str:
    """A quantile of a histogram."""
    return quantile(part, metric, f"{{{where}}}", by=by, over=STEP)
