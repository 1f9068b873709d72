-- Join numbers that are accounted for to those that touch or overlap them.
--   $1 source   $2 shard   $3, $4 first and last number   $5, $6 when the stream stored these two
--   $7, $8 their sequences
-- Ranges neither touch nor overlap each other, so of those that begin below a fresh one the last alone
-- may reach it: whoever makes up numbers leaves any number of ranges, and they must not all be read.
WITH fresh AS MATERIALIZED (
    SELECT f.*, coalesce((
        SELECT b.low FROM {schema}.ledger b
        WHERE b.source = f.source AND b.shard = f.shard AND b.low < f.low
        ORDER BY b.low DESC
        LIMIT 1), f.low) AS start
    FROM unnest($1::text[], $2::integer[], $3::bigint[], $4::bigint[],
                $5::timestamptz[], $6::timestamptz[], $7::bigint[], $8::bigint[])
        AS f (source, shard, low, high, low_at, high_at, low_sequence, high_sequence)
), touched AS (
    DELETE FROM {schema}.ledger l
    USING fresh f
    WHERE l.source = f.source AND l.shard = f.shard
      AND l.low >= f.start AND l.low <= f.high + 1 AND l.high >= f.low - 1
    RETURNING l.source, l.shard, l.low, l.high, l.low_at, l.high_at, l.low_sequence,
              l.high_sequence, l.since
), parts AS (
    SELECT source, shard, low, high, low_at, high_at, low_sequence, high_sequence,
           clock_timestamp() AS since
    FROM fresh
    UNION ALL
    SELECT * FROM touched
), marked AS (
    SELECT *, low > 1 + max(high) OVER (
        PARTITION BY source, shard ORDER BY low, high
        ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS begins
    FROM parts
), numbered AS (
    SELECT *, count(*) FILTER (WHERE begins) OVER (
        PARTITION BY source, shard ORDER BY low, high) AS island
    FROM marked
)
INSERT INTO {schema}.ledger
    (source, shard, low, high, low_at, high_at, low_sequence, high_sequence, since)
SELECT source, shard, min(low), max(high),
       (array_agg(low_at ORDER BY low, since))[1], (array_agg(high_at ORDER BY high DESC, since))[1],
       (array_agg(low_sequence ORDER BY low, since))[1],
       (array_agg(high_sequence ORDER BY high DESC, since))[1],
       (array_agg(since ORDER BY low, since))[1]
FROM numbered
GROUP BY source, shard, island
