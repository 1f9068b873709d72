-- What is visible now, and whether events of a key wait in it.
--   $1 key
SELECT pg_current_snapshot()::text AS snapshot, ({pending}) AS waits
