-- A part of other statements: positions of letters that the relay has set aside since a snapshot in which
-- no event of the key waited for it.
    SELECT d.position
    FROM {schema}.cursors c
    CROSS JOIN LATERAL (
{unseen}
    ) unseen
    -- One by one, by their positions: who has moved a million letters does not go through them again.
    CROSS JOIN LATERAL (
        SELECT l.position
        FROM {schema}.dead_letters l
        WHERE l.position = unseen.position AND l.partition_key = {key}
        OFFSET 0
    ) d
