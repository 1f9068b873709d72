-- The first of some dead letters that the table of events does not take back, and why.
--   $1 positions, JSON, or the key   $2 most bytes
SELECT d.position, n.name, octet_length(n.value) AS bytes
FROM {schema}.dead_letters d
CROSS JOIN LATERAL (VALUES ('event_type', d.event_type), ('partition_key', d.partition_key),
                           ('routing_key', d.routing_key)) AS n (name, value)
WHERE {these} AND octet_length(n.value) > $2
ORDER BY d.position
LIMIT 1
