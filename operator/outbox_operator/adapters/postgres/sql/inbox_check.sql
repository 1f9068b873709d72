-- Whether the tables are there, as this version wants them.
SELECT i.event_id, p.last_sequence
FROM {schema}.consumer_inbox i, {schema}.consumer_positions p
LIMIT 0
