-- Begin with an outbox, unless that was done; how far it is.
--   $1 source   $2 when that was, by the outbox's clock   $3 last position of its rows
WITH begun AS (
    INSERT INTO {schema}.backfills (source, began_at, up_to) VALUES ($1, $2, $3)
    ON CONFLICT DO NOTHING
), tidied AS (
    DELETE FROM {schema}.backfills WHERE source = ''
)
SELECT 1
