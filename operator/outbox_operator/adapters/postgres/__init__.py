"""PostgreSQL: pages of rows, locks, inbox, dead letters; all statements are in `sql/`."""
