-- The text of a statement for a session to prepare: events of a transaction are handled.
--   $1 consumer; of the statement: event ids, milliseconds, transaction
-- It fails when that transaction is rolled back, and remembers that it wrote until the session is
-- reset: a handler may have committed, and begun another one.
SELECT $text$
PREPARE outbox_inbox_finish (uuid[], integer, text) AS
WITH finished AS (
    UPDATE {schema}.consumer_inbox SET processing_duration_ms = $2
    WHERE consumer_name = $text$ || quote_literal($1::text) || $text$ AND event_id = ANY($1)
        AND pg_current_xact_id() = $3::xid8
    RETURNING 1
)
SELECT CASE
    WHEN EXISTS (SELECT FROM finished) THEN set_config('outbox.finished', $3, false)
    WHEN pg_xact_status($3::xid8) IS DISTINCT FROM 'committed'
        THEN CAST(concat('{rolled_back} ', pg_xact_status($3::xid8)) AS integer)::text
END
$text$
