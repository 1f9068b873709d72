-- Have the marks of a consumer end where they are: its durable consumer is as another one from now on.
--   $1 consumer   $2 stream
UPDATE {schema}.consumer_positions SET durable_created = ''
WHERE consumer_name = $1 AND stream = $2 AND durable_created <> ''
