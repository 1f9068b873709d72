"""For `INSTALLED_APPS` of Django: system checks of the outbox, and `manage.py outbox_consume`."""
