-- Live numbers of an outbox over all its shards; every branch stops at the cap and walks an index.
-- Each shard is looked at up to the cap by itself: the oldest row may be in any of them.
--   $1 cap on counting, plus one
-- Unpublished are: rows that no snapshot of the cursor sees (tail), and of an open window the
-- rows behind the position it has reached. While that is 0 the whole window is still to come, and
-- the first rows by xid will do; later the first rows by position will.
-- BETWEEN with ORDER BY, where = ANY would do, keeps the planner on the index: to its statistics
-- one xid may well be all rows. What transactions have written that are under way is passed over:
-- to see that a row is not to be seen takes a look at it.
WITH under_way AS MATERIALIZED (
    SELECT ARRAY(
{open}
    ) AS xids
),
shards AS MATERIALIZED (
    SELECT shard, last_position, emission - emission_gaps AS published, remark,
           CASE WHEN noticed_at > clock_timestamp() - interval '1 hour' THEN notice END AS notice,
           CASE WHEN position_noticed_at > clock_timestamp() - interval '1 hour'
                THEN position_notice END AS position_notice,
           CASE WHEN emission > emission_gaps THEN stream_created END AS stream_created,
           published_at, snapshot_to,
           snapshot_to::pg_snapshot AS upper,
           pg_snapshot_xmax(snapshot_from::pg_snapshot) AS from_xid,
           ARRAY(SELECT pg_snapshot_xip(snapshot_from::pg_snapshot)) AS open_xids,
           pg_snapshot_xmax(coalesce(snapshot_to, snapshot_from)::pg_snapshot) AS tail_xid,
           ARRAY(SELECT pg_snapshot_xip(coalesce(snapshot_to, snapshot_from)::pg_snapshot))
               AS tail_open_xids
    FROM {schema}.cursors
),
unpublished AS (
    SELECT e.created_at
    FROM shards s
    CROSS JOIN under_way u
    CROSS JOIN LATERAL (
        (SELECT found.created_at
         FROM (SELECT ARRAY(SELECT x FROM unnest(u.xids) AS o (x) WHERE x >= s.tail_xid) AS xids) o
         CROSS JOIN LATERAL unnest(
             (s.tail_xid::text::bigint - 1)::text::xid8 || o.xids,
             o.xids || '18446744073709551615'::xid8
         ) AS range (after, before)
         CROSS JOIN LATERAL (
             SELECT created_at
             FROM {schema}.events
             WHERE shard = s.shard AND xid > range.after AND xid < range.before
             ORDER BY xid
             LIMIT $1
         ) found
         LIMIT $1)
        UNION ALL
        (SELECT late.created_at
         FROM unnest(s.tail_open_xids) AS o (xid)
         CROSS JOIN LATERAL (
             SELECT created_at
             FROM {schema}.events
             WHERE shard = s.shard AND xid BETWEEN o.xid AND o.xid
             ORDER BY xid
             LIMIT $1
         ) late
         WHERE o.xid <> ALL (u.xids)
         LIMIT $1)
        UNION ALL
        (SELECT created_at
         FROM {schema}.events
         WHERE s.upper IS NOT NULL AND s.last_position = 0
           AND shard = s.shard AND xid >= s.from_xid AND xid < s.tail_xid
           AND pg_visible_in_snapshot(xid, s.upper)
         ORDER BY xid
         LIMIT $1)
        UNION ALL
        (SELECT late.created_at
         FROM unnest(s.open_xids) AS o (xid)
         CROSS JOIN LATERAL (
             SELECT created_at
             FROM {schema}.events
             WHERE s.upper IS NOT NULL AND s.last_position = 0
               AND shard = s.shard AND xid BETWEEN o.xid AND o.xid
               AND pg_visible_in_snapshot(xid, s.upper)
             ORDER BY xid
             LIMIT $1
         ) late
         LIMIT $1)
        UNION ALL
        (SELECT created_at
         FROM {schema}.events
         WHERE s.upper IS NOT NULL AND s.last_position > 0 AND position > s.last_position
           AND shard = s.shard AND (xid >= s.from_xid OR xid = ANY (s.open_xids))
           AND pg_visible_in_snapshot(xid, s.upper)
         ORDER BY position
         LIMIT $1)
        LIMIT $1
    ) e
)
SELECT u.rows AS backlog_rows,
       greatest(extract(epoch FROM clock_timestamp() - u.oldest), 0)::float8 AS oldest_age_seconds,
       (SELECT count(*) FROM (SELECT FROM {schema}.dead_letters LIMIT $1) d) AS dead_letters,
       c.published_total, c.last_position, c.last_published_at, c.remark, c.notice, c.position_notice,
       c.streams_created
FROM (
    SELECT count(*) AS rows, min(created_at) FILTER (WHERE isfinite(created_at)) AS oldest
    FROM unpublished
) u
CROSS JOIN (
    SELECT coalesce(sum(published), 0)::bigint AS published_total,
           coalesce(max(last_position), 0) AS last_position,
           max({readable(published_at)}) FILTER (WHERE isfinite(published_at)) AS last_published_at,
           min(remark) AS remark,
           min(notice) AS notice,
           min(position_notice) AS position_notice,
           string_agg(DISTINCT stream_created, ' ') AS streams_created
    FROM shards
) c
