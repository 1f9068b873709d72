-- Remember events; returns those that were not known. Waits for a transaction that holds one.
--   $1 consumer   $2 event ids   $3 subjects   $4 event types   $5 payloads
INSERT INTO {schema}.consumer_inbox (consumer_name, event_id, source_topic, event_type, payload)
SELECT $1, event_id, source_topic, event_type, payload
FROM unnest($2::uuid[], $3::text[], $4::text[], $5::bytea[])
    AS given(event_id, source_topic, event_type, payload)
ORDER BY event_id -- so that two transactions with the same events do not wait for each other
ON CONFLICT DO NOTHING
RETURNING event_id, pg_current_xact_id()::text AS transaction
