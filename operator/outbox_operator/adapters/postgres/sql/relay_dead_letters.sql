-- Copy rows that cannot be published; runs in the transaction that moves the cursor past them.
--   $1 positions   $2 reasons   $3 errors   $4 whether parked only because of their key
INSERT INTO {schema}.dead_letters
    (position, shard, event_id, event_type, partition_key, routing_key, payload, headers,
     created_at, reason, error, blocked, replay)
SELECT e.position, e.shard, e.event_id, e.event_type, e.partition_key, e.routing_key, e.payload,
       e.headers, e.created_at, b.reason, b.error, b.blocked, e.replay
FROM unnest($1::bigint[], $2::text[], $3::text[], $4::boolean[])
         AS b (position, reason, error, blocked)
JOIN {schema}.events e USING (position)
ON CONFLICT (position) DO NOTHING
