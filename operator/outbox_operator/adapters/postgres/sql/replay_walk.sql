-- A part of replay_count.sql and replay_next.sql: the next rows of the table, and which of them a
-- replay selects. Copies of replays are never copied again, nor what is a dead letter or was one: of
-- what was released the new row was published.
--   $1 behind this position   $2 up to this one   $3 snapshot   $4 event types   $5 keys
--   $6 not before this time   $7 before this one   $8 rows to look at
SELECT e.position,
       e.replay IS NULL
       AND pg_visible_in_snapshot(e.xid, (SELECT $3::text::pg_snapshot))
       AND ($4::text[] IS NULL OR e.event_type = ANY ($4))
       AND ($5::text[] IS NULL OR e.partition_key = ANY ($5))
       AND ($6::timestamptz IS NULL OR e.created_at >= $6)
       AND ($7::timestamptz IS NULL OR e.created_at < $7)
       AND NOT EXISTS (SELECT FROM {schema}.dead_letters d WHERE d.position = e.position)
       AND NOT EXISTS (SELECT FROM {schema}.former_dead_letters f WHERE f.position = e.position)
           AS chosen,
       -- Rows of before the table refused them may have longer ones.
       greatest(octet_length(e.event_type), octet_length(e.partition_key),
                octet_length(e.routing_key)) <= {most_bytes} AS fits,
       pg_column_size(e.payload) + pg_column_size(e.headers) AS size,
       e.replay IS NULL AND e.xid >= pg_snapshot_xmax((SELECT $3::text::pg_snapshot)) AS moved
FROM (
    SELECT *
    FROM {schema}.events
    WHERE position > $1 AND position <= $2
    ORDER BY position
    LIMIT $8
) e
