"""The role `outbox archive`: every event of a stream in PostgreSQL, once, and what is missing."""
