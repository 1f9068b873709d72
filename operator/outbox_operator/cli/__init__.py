"""`outbox …`: arguments in, exit code out."""
