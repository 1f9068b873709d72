-- The key of this transaction, and a snapshot of it in which no event of the key waited for the relay;
-- for dead_letters_since.sql and dead_letters_finish.sql.
--   $1 key   $2 snapshot
SELECT set_config('outbox.key', $1, true), set_config('outbox.since', $2, true)
