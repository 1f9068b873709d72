-- Note how far the rows of a replay are copied, in the transaction that does it.
--   $1 name   $2 up to this position   $3 more of them
UPDATE {schema}.replays
SET copied_to = $2, copied = copied + $3, moved_at = clock_timestamp(),
    last_xid = CASE WHEN $3 > 0 THEN pg_current_xact_id() ELSE last_xid END
WHERE name = $1
