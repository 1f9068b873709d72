-- Become the owner: every later write of an earlier owner then matches no row.
--   $1 shard   $2 owner   $3 system identifier of this server
UPDATE {schema}.cursors
SET owner_epoch = owner_epoch + 1, owner = $2,
    system_identifier = coalesce(system_identifier, $3), updated_at = clock_timestamp()
WHERE shard = $1
RETURNING owner_epoch
