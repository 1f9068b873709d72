-- Events that happened by then may be in the archive already, of any time; NULL: none may. Clocks of those
-- who send events at once, and say when they happened, may be ahead of the outbox's.
SELECT max(began_at) + interval '1 hour' FROM {schema}.backfills
