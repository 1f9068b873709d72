-- What became of a transaction, and whether it finished with these events.
--   $1 transaction   $2 consumer   $3 event ids
SELECT pg_xact_status($1::text::xid8) AS status,
    coalesce((
        SELECT bool_and(processing_duration_ms IS NOT NULL)
        FROM {schema}.consumer_inbox
        WHERE consumer_name = $2 AND event_id = ANY($3::uuid[])
    ), true) AS finished
