"""One module per verb of `outbox`; see `outbox_operator.cli.main` for what a module must define."""
