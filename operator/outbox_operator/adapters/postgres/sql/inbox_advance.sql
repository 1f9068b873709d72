-- The shard is handled up to here; no row if the transaction is another one by now.
--   $1 consumer   $2 source   $3 shard   $4 emission   $5 when the stream took it   $6 stream
--   $7 when the durable consumer was made   $8 its filters   $9, $10 first and last sequence
--   $11 transaction
UPDATE {schema}.consumer_positions
SET emission = $4, stored_at = $5, stream = $6, durable_created = $7, durable_filter = $8,
    first_sequence = $9, last_sequence = $10
WHERE consumer_name = $1 AND source = $2 AND shard = $3
    AND pg_current_xact_id() = $11::text::xid8
