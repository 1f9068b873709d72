-- What tells why rows have no message.
--   $1 positions (as text, which the driver knows arrays of)
SELECT e.position, e.shard, e.event_id, d.position IS NOT NULL AS dead, f.released,
       {readable(e.created_at)} AS created_at, e.replay->>'to' AS consumer,
       CASE WHEN e.replay->>'of' ~ '^[0-9]+$' AND length(e.replay->>'of') < 19
            THEN (e.replay->>'of')::bigint END AS of
FROM {schema}.events e
LEFT JOIN {schema}.dead_letters d ON d.position = e.position
LEFT JOIN {schema}.former_dead_letters f ON f.position = e.position
WHERE e.position = ANY (($1::text[])::bigint[])
ORDER BY e.position
