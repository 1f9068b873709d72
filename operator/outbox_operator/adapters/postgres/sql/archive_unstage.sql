-- Make room for what else of a batch becomes rows.
DELETE FROM pg_temp.outbox_archive_batch
