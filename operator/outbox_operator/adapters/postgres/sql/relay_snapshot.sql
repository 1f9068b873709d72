-- The snapshot of now: S2 where a poll could not read its rows.
SELECT pg_current_snapshot()::text
