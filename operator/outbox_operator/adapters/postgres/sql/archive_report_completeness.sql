-- How far the numbers of each shard are known, and how many stretches of them are missing.
SELECT l.source, l.shard, min(l.low) AS first, max(l.high) AS last, max(l.high_at) AS sent_at,
       count(*) - 1 AS gaps
FROM {schema}.ledger l
GROUP BY 1, 2
ORDER BY 1, 2
LIMIT {limit}
