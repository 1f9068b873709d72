-- A record of a row that cannot be copied, in place of relay_dead_letters.sql.
--   $1 position   $2 key   $3 reason   $4 error   $5 whether parked only because of its key
INSERT INTO {schema}.dead_letters
    (position, shard, event_id, event_type, partition_key, payload, headers, created_at, reason,
     error, blocked, replay)
SELECT e.position, e.shard, e.event_id, '', $2, {nothing}, '{}', e.created_at, $3, $4, $5, e.replay
FROM {schema}.events e
WHERE e.position = $1
ON CONFLICT (position) DO NOTHING
