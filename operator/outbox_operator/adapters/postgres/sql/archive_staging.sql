-- Where a batch is put before it becomes rows: a table of this session, empty after each transaction.
CREATE TEMPORARY TABLE outbox_archive_batch ({columns}) ON COMMIT DELETE ROWS
