-- Forget how far a consumer has handled the shards of outboxes.
--   $1 consumer
DELETE FROM {schema}.consumer_positions WHERE consumer_name = $1
