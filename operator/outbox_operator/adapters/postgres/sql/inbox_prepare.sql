-- Two texts by which events of a transaction are handled: of a statement for a session to prepare,
-- for one event; and for several, with places for their ids, milliseconds and the transaction.
--   $1 consumer; of the prepared one: event id, milliseconds, transaction
-- They fail when that transaction is rolled back, and remember that they wrote until the session is
-- reset: a handler may have committed, and begun another one.
-- A plan is kept, also from when the inbox was empty. For one id it is by the key, however full the
-- inbox becomes; for several it would read all of it, so that one is planned each time, and written
-- so that it is by the key without statistics too. Tables of one family may have the same places.
WITH finish (text) AS (SELECT $text$
WITH finished AS (
    UPDATE {schema}.consumer_inbox SET processing_duration_ms = <milliseconds>
    WHERE <these> AND pg_current_xact_id() = CAST(<transaction> AS xid8)
    RETURNING 1
)
SELECT CASE
    WHEN EXISTS (SELECT FROM finished) THEN set_config('outbox.finished', <transaction>, false)
    WHEN pg_xact_status(CAST(<transaction> AS xid8)) IS DISTINCT FROM 'committed' THEN CAST(
        concat('{rolled_back} ', pg_xact_status(CAST(<transaction> AS xid8))) AS integer
    )::text
END;
$text$)
SELECT
    'PREPARE outbox_inbox_finish (uuid, integer, text) AS ' || replace(replace(replace(text,
        '<milliseconds>', '$2'),
        '<transaction>', '$3'),
        '<these>', 'consumer_name = ' || quote_literal($1::text) || ' AND event_id = $1'
    ) AS one,
    replace(replace(replace(text,
        '<milliseconds>', '%(milliseconds)d'),
        '<transaction>', '''%(transaction)d'''),
        '<these>', replace('ctid = ANY(ARRAY(SELECT (
            SELECT i.ctid FROM {schema}.consumer_inbox i
            WHERE i.consumer_name = <consumer> AND i.event_id = e.id
        ) FROM unnest(CAST(''{%(events)s}'' AS uuid[])) AS e (id)))
            AND consumer_name = <consumer> AND event_id = ANY(CAST(''{%(events)s}'' AS uuid[]))',
            '<consumer>', replace(quote_literal($1::text), '%', '%%'))
    ) AS several
FROM finish
