-- Go on with an outbox; nothing, if another process has gone on meanwhile.
--   $1 source   $2 position so far   $3 and from now on   $4 rows looked at   $5 of these, stored
--   $6 whether that were the last
UPDATE {schema}.backfills
SET position = $3, rows = rows + $4, stored = stored + $5, moved_at = clock_timestamp(), problem = NULL,
    ended_at = CASE WHEN $6 THEN clock_timestamp() END
WHERE source = $1 AND position = $2 AND ended_at IS NULL
