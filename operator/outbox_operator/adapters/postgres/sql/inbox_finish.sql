-- How long the handler took, for events of this transaction.
--   $1 consumer   $2 event ids   $3 milliseconds
UPDATE {schema}.consumer_inbox SET processing_duration_ms = $3
WHERE consumer_name = $1 AND event_id = ANY($2::uuid[])
