-- Forget events that a transaction claimed, and nobody else since.
--   $1 consumer   $2 event ids   $3 transaction
DELETE FROM {schema}.consumer_inbox
WHERE consumer_name = $1 AND event_id = ANY($2::uuid[]) AND xmin = $3::text::xid8::xid
