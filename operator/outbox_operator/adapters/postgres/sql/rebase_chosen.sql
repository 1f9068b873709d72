-- The rows of a shard, and which of them shall be published after the rebase.
--   $1 shard   $2 choice   $3 position   $4 time   $5 whether the cursor is another server's
-- Rows that a dump brought carry the transaction ids of that server, and so does the cursor: the
-- two can be compared, whatever this server's ids are. Rows written here since then can not. They are
-- told apart by when the table was made here (a row of its definition in the catalog): a row is
-- from here when its transaction is not before that, and not after the one that physically wrote it.
-- Physical ids have 32 bits; the last 2^32 of them are unambiguous.
    SELECT e.position, e.xid, e.created_at,
           NOT EXISTS (SELECT FROM {schema}.dead_letters d WHERE d.position = e.position)
           {no_former}
           AND CASE $2
               WHEN 'all' THEN true
               WHEN 'none' THEN false
               WHEN 'from-position' THEN e.position >= $3
               WHEN 'created-after' THEN e.created_at >= $4
               ELSE ($5 AND e.xid::text::bigint BETWEEN here.made AND
                        here.now - ((here.now - e.xmin::text::bigint) & 4294967295))
                    OR NOT (pg_visible_in_snapshot(e.xid, c.snapshot_from::pg_snapshot)
                            OR (c.snapshot_to IS NOT NULL AND e.position <= c.last_position
                                AND pg_visible_in_snapshot(e.xid, c.snapshot_to::pg_snapshot)))
           END AS chosen
    FROM {schema}.events e
    JOIN {schema}.cursors c ON c.shard = e.shard
    CROSS JOIN (
        SELECT n.now, n.now - ((n.now - a.xmin::text::bigint) & 4294967295) AS made
        FROM (SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint AS now) n,
             pg_catalog.pg_attribute a
        WHERE a.attrelid = '{schema}.events'::regclass AND a.attname = 'xid'
    ) here
    WHERE e.shard = $1
