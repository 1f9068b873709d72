-- Write rows anew behind all others, in their order, marked as copies. They are as old as they are; when
-- the event happened the mark says.
--   $1 positions; as text, which the driver knows arrays of   $2 the first of them   $3 the last
--   $4 name of the replay   $5 for which durable consumer
INSERT INTO {schema}.events
    (event_id, event_type, partition_key, routing_key, payload, headers, replay)
SELECT event_id, event_type, partition_key, routing_key, payload, headers,
       jsonb_strip_nulls(jsonb_build_object(
           'name', $4::text, 'to', $5::text, 'of', position,
           'time', least(greatest(date_part('epoch', created_at) * 1e6, {first_time}),
                         {last_time})::bigint))
FROM {schema}.events
WHERE position = ANY ((SELECT $1::text[]::bigint[])::bigint[]) AND position BETWEEN $2 AND $3
ORDER BY position
