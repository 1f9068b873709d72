-- All letters of the key of this transaction, in order: they are gone through once.
DECLARE letters NO SCROLL CURSOR FOR
SELECT position, pg_column_size(payload) + pg_column_size(headers) AS size
FROM {schema}.dead_letters
WHERE partition_key = current_setting('outbox.key')
  AND hashtextextended(partition_key, 0) = hashtextextended(current_setting('outbox.key'), 0)
ORDER BY position
