-- What became of a transaction, whether it finished with these events, and whether it moved the mark.
-- Events and mark are looked at as well as the transaction: a server that was started anew without
-- the end of its log, or a standby that took over, gives numbers of transactions out again.
--   $1 transaction   $2 consumer   $3 event ids   $4 source, or NULL: no mark   $5 shard
SELECT pg_xact_status($1::text::xid8) AS status,
    (
        SELECT count(*) FILTER (WHERE processing_duration_ms IS NOT NULL)
        FROM {schema}.consumer_inbox
        WHERE consumer_name = $2 AND event_id = ANY($3::uuid[])
    ) = cardinality($3::uuid[]) AS finished,
    $4::text IS NULL OR EXISTS (
        SELECT FROM {schema}.consumer_positions
        WHERE consumer_name = $2 AND source = $4 AND shard = $5 AND xmin = $1::text::xid8::xid
    ) AS marked
