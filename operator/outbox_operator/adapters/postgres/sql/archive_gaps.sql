-- The first gaps of an archive, by when they begin.
--   $1 how many at most
SELECT source, shard, first, last, sent_after, sent_before
FROM {schema}.gaps ORDER BY sent_after, source, shard, first LIMIT $1
