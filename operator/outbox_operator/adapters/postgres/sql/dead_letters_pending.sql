-- Whether events of a key wait that the relay has not accounted for: they would overtake.
SELECT EXISTS (
    SELECT
    FROM {schema}.cursors c
    CROSS JOIN LATERAL (
{unseen}
    ) unseen
    WHERE c.snapshot_to IS NULL OR unseen.position > c.last_position
          OR NOT pg_visible_in_snapshot(unseen.xid, c.snapshot_to::pg_snapshot)
)
