-- How long the handler took, for events of this transaction; none if it is another one by now.
--   $1 consumer   $2 event ids   $3 milliseconds   $4 transaction
UPDATE {schema}.consumer_inbox SET processing_duration_ms = $3
WHERE consumer_name = $1 AND event_id = ANY($2::uuid[])
    AND pg_current_xact_id() = $4::text::xid8
