-- How many gaps there are, and how many numbers are in them; bounded, whatever is published: of more
-- ranges than that the first ones, by shard and number, so that no range between two is left out.
WITH ranges AS (
    SELECT low, lag(high) OVER (PARTITION BY source, shard ORDER BY low) AS before
    FROM (
        SELECT source, shard, low, high FROM {schema}.ledger
        ORDER BY source, shard, low LIMIT 10000
    ) l
)
SELECT count(*) AS gaps, coalesce(sum(low - before - 1), 0)::float8 AS numbers
FROM ranges
WHERE before IS NOT NULL
