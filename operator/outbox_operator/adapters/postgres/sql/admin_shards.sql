-- The cursors, and whose server they are of. A column that somebody dropped is found to be empty.
SELECT shard, to_jsonb(c) ->> 'system_identifier' AS system_identifier FROM {schema}.cursors c
