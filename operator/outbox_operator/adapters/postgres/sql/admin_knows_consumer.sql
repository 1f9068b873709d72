-- Whether a table of an inbox has anything of a consumer.
--   $1 consumer
SELECT EXISTS (SELECT 1 FROM {table} WHERE consumer_name = $1)
