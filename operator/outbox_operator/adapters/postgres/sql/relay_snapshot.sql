-- The snapshot of now, S2, and who owns the shard in it: `outbox rebase` makes rows new and takes the
-- shard away in one transaction, and who published these as its own would have them dropped for the
-- ids of before. A part of relay_poll.sql; alone where a poll could not read its rows.
--   $1 shard
SELECT pg_current_snapshot()::text AS snapshot,
       (SELECT owner_epoch FROM {schema}.cursors WHERE shard = $1) AS owner_epoch
