-- The new cursor. Whoever owned the shard loses it.
--   $1 shard   $2 snapshot   $3 sequence in the stream or NULL: as it was   $4 emission likewise
--   $5 whether events are sent again that the stream may know the ids of: all rows up to now then
--   get message ids of their own
UPDATE {schema}.cursors
SET snapshot_from = $2, snapshot_to = NULL, last_position = 0,
    stream_sequence = coalesce($3, stream_sequence), emission = greatest($4, emission),
    emission_gaps = emission_gaps + greatest($4 - emission, 0),
    notice = NULL, checkpoints = '[]',
    resent_to = CASE WHEN $5 THEN coalesce((SELECT max(position) FROM {schema}.events), 0)
                     ELSE resent_to END,
    resent_epoch = CASE WHEN $5 THEN owner_epoch + 1 ELSE resent_epoch END,
    owner_epoch = owner_epoch + 1, owner = NULL,
    system_identifier = (SELECT system_identifier::text FROM pg_control_system()),
    updated_at = clock_timestamp()
WHERE shard = $1
