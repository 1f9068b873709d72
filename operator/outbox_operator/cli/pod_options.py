"""Options of the verbs that run in pods: where the configuration is, and how much is logged."""

from __future__ import annotations

import argparse


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options to a verb."""
    parser.add_argument(
        "--config", metavar="FILE", help="JSON configuration (default: the value of OUTBOX_CONFIG)"
    )
    parser.add_argument(
        "--log-level",
        default="info",
        choices=("debug", "info", "warning", "error"),
        help="lowest level of log lines (default: %(default)s)",
    )
