-- Say what is in the way of an outbox's rows.
--   $1 source; empty: nobody knows it yet   $2 what
INSERT INTO {schema}.backfills (source, began_at, up_to, problem)
VALUES ($1, clock_timestamp(), 0, $2)
ON CONFLICT (source) DO UPDATE SET problem = excluded.problem
WHERE backfills.ended_at IS NULL
