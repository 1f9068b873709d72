"""One module a verb; `outbox_operator.cli.main` says what it must define."""
