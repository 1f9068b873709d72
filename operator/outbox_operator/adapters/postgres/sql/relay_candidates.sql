-- Rows behind the cursor up to a position: some of them were published, and the stream does not say
-- which. Read when a shard is taken, if messages are missing in the stream.
--   $1 shard   $2 xmax of S1   $3 xids that were open in S1   $4 xmax of S2, or NULL: no window
--   $5 xids that were open in S2   $6 position done in that window   $7 last position
--   $8 most rows   $9 most rows to look at
-- Walks the (shard, xid) index: what was published first began first. Keys may be large, and in a
-- database without an encoding no text at all. Copies of a replay are in order among themselves only;
-- its name is ASCII.
WITH behind AS (
    (SELECT position, event_id, partition_key, xid, replay
     FROM {schema}.events
     WHERE shard = $1 AND xid >= $2::text::xid8
     ORDER BY xid
     LIMIT $9)
    UNION ALL
    SELECT e.position, e.event_id, e.partition_key, e.xid, e.replay
    FROM unnest($3::text[]::xid8[]) AS open (xid)
    CROSS JOIN LATERAL (
        SELECT position, event_id, partition_key, xid, replay
        FROM {schema}.events
        WHERE shard = $1 AND xid BETWEEN open.xid AND open.xid
        ORDER BY xid
    ) e
)
SELECT found.*, looked_at.cut
FROM (
    -- Whether there are more rows than are looked at: to be known if none of these is found, too.
    SELECT count(*) >= $9 AS cut
    FROM (SELECT FROM {schema}.events WHERE shard = $1 AND xid >= $2::text::xid8 LIMIT $9) fresh
) looked_at
LEFT JOIN (
    SELECT position, event_id::text, sha256(convert_to(
        partition_key,
        CASE getdatabaseencoding() WHEN 'SQL_ASCII' THEN 'SQL_ASCII' ELSE 'UTF8' END
    ) || coalesce('\x00'::bytea || convert_to(replay ->> 'name', 'SQL_ASCII'), '')) AS key
    FROM behind
    WHERE position <= $7
      AND ($4::text IS NULL OR position > $6 OR xid >= $4::text::xid8
           OR xid = ANY ($5::text[]::xid8[]))
    LIMIT $8
) found ON true
