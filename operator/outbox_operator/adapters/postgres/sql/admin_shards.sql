SELECT shard FROM {schema}.cursors
