-- Waits for whoever is writing the same event, then keeps them waiting until the end of this transaction.
--   $1 key of `wire.advisory_locks.event_lock`
SELECT pg_advisory_xact_lock($1)
