-- What a rebase would do to a shard. Arguments as in rebase_chosen.sql.
SELECT count(*) AS rows, count(*) FILTER (WHERE chosen) AS chosen,
       min(position) FILTER (WHERE chosen) AS first, max(position) FILTER (WHERE chosen) AS last,
       min({readable(created_at)}) FILTER (WHERE chosen) AS oldest
FROM (
{chosen}
) r
