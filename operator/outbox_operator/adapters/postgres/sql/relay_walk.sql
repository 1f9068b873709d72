-- A part of relay_span.sql, relay_span_whole.sql and relay_positions.sql: the shard's rows in each of the
-- ranges of relay_ranges.sql. OFFSET 0 keeps the planner from reading all rows of the shard, or all that
-- lies between their positions, once instead of a range of them for each xid.
CROSS JOIN LATERAL (
    SELECT position
    FROM {schema}.events
    WHERE shard = $1 AND xid > range.after AND xid < range.before
    OFFSET 0
) e
