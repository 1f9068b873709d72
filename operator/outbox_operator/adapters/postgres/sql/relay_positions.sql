-- Where the next rows of a window are, found without a look at the rows of other shards.
--   $1 shard   $2 xid to begin with   $3 xid to end before   $4 xids that were open in S2
--   $5 xids that were open in S1   $6 position already done   $7 last position   $8 most positions
SELECT ARRAY(
    SELECT e.position
    FROM (
        SELECT range.after, range.before
        FROM {ranges}
        UNION ALL
        SELECT (x::text::bigint - 1)::text::xid8, (x::text::bigint + 1)::text::xid8
        FROM unnest($5::text[]::xid8[]) AS o (x)
        WHERE x <> ALL ($4::text[]::xid8[]) AND pg_xact_status(x) IS DISTINCT FROM 'aborted'
    ) range
    {walk}
    WHERE e.position > $6 AND e.position <= $7
    ORDER BY e.position
    LIMIT $8
)
