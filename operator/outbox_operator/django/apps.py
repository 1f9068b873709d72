"""The application as Django loads it."""

from __future__ import annotations

from django.apps import AppConfig


class OutboxConfig(AppConfig):  # type: ignore[misc]
    """Registers the system checks. Has no models: the operator makes the tables."""

    name = "outbox_operator.django"
    label = "outbox_operator"
    verbose_name = "Transactional outbox"

    def ready(self) -> None:
        """Register what `manage.py check` looks at."""
        from outbox_operator.django import checks

        checks.register()
