-- How far the rows of an outbox are archived.
--   $1 source
SELECT up_to, position, ended_at IS NOT NULL AS ended FROM {schema}.backfills WHERE source = $1
