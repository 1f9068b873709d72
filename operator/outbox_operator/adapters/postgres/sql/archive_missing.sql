-- How many gaps there are, and how many numbers are in them; bounded, whatever is published.
WITH ranges AS (
    SELECT low, lag(high) OVER (PARTITION BY source, shard ORDER BY low) AS before
    FROM (SELECT source, shard, low, high FROM {schema}.ledger LIMIT 10000) l
)
SELECT count(*) AS gaps, coalesce(sum(low - before - 1), 0)::float8 AS numbers
FROM ranges
WHERE before IS NOT NULL
