-- Per shard the snapshot in which everything is published, and whether it is this server's.
SELECT shard, snapshot_from,
       system_identifier IS NULL
           OR system_identifier = (SELECT system_identifier::text FROM pg_control_system())
           AS belongs_here
FROM {schema}.cursors
ORDER BY shard
