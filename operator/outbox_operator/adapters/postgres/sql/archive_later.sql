-- Have what of the batch is not there yet, though it was inserted, say that it was stored a little later: an
-- event of another source has its id and its moment, which are one key in an archive of version 1.
--   parameters of archive_look   $4 how much later
UPDATE pg_temp.outbox_archive_batch b SET stored_at = b.stored_at + $4
WHERE {look} IS NULL
