-- Have what of the batch is not there yet, though it was inserted, say that it was stored a little later: an
-- event of another source has its id and its moment.
--   $1, $2 as of the insert   $3 how much later
UPDATE pg_temp.outbox_archive_batch b SET stored_at = b.stored_at + $3
WHERE (
    SELECT true FROM {schema}.events e
    WHERE e.id = b.id AND e.source = b.source AND e.stored_at >= $1 AND e.stored_at <= $2
    LIMIT 1
) IS NULL
