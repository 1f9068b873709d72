-- Remember an event; no row if it was known. Waits for a transaction that holds it.
--   $1 consumer   $2 event id   $3 subject   $4 event type   $5 payload
INSERT INTO {schema}.consumer_inbox (consumer_name, event_id, source_topic, event_type, payload)
VALUES ($1, $2, $3, $4, $5)
ON CONFLICT DO NOTHING
RETURNING event_id, pg_current_xact_id()::text AS transaction
