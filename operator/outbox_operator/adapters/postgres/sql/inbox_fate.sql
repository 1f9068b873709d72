-- What became of a transaction.
--   $1 transaction
SELECT pg_xact_status($1::text::xid8)
