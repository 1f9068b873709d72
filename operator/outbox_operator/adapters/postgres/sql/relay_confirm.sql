-- Whether the shard is still ours.
--   $1 shard   $2 our epoch
SELECT shard FROM {schema}.cursors WHERE shard = $1 AND owner_epoch = $2
