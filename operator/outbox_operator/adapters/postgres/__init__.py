"""PostgreSQL: pages of rows, locks, inbox, dead letters; statements are in `sql/`."""
