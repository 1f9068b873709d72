"""`manage.py outbox_consume`: `outbox consume` with Django set up, for handlers that use models."""

from __future__ import annotations

import argparse
import functools
from collections.abc import Callable
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import close_old_connections

from outbox_operator.cli.commands import consume
from outbox_operator.errors import SpecError, needing


class Command(BaseCommand):  # type: ignore[misc]
    """Runs until SIGTERM or SIGINT, then drains."""

    help = consume.HELP

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Those of `outbox consume`."""
        consume.configure(parser)

    def handle(self, **options: Any) -> None:
        """Consume."""
        try:
            with needing(consume.EXTRA):
                code = consume.run(argparse.Namespace(**options), around=in_a_request_of_its_own)
        except SpecError as error:
            raise CommandError(error.message, returncode=2) from error
        if code:
            raise SystemExit(code)


def in_a_request_of_its_own(function: Callable[..., Any]) -> Callable[..., Any]:
    """Have a function find and leave Django's connections as a request does: one that is too old,
    or that a server has ended, is made anew."""

    @functools.wraps(function)
    def call(*args: Any, **named: Any) -> Any:
        close_old_connections()
        try:
            return function(*args, **named)
        finally:
            close_old_connections()

    return call
