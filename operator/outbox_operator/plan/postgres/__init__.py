"""The outbox's schema: tables, migrations, grants, partitions, removal, rebase."""
