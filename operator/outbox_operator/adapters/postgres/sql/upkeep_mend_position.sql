-- Move the sequence behind all positions in use, and note it for the status. Only with the lock for
-- upkeep: two at it at once, or a rotation, would take back what writers have drawn meanwhile.
-- Writers take no lock. The margin is more than they can draw before it is moved. At its end they
-- draw nothing, so there it may be moved down.
WITH behind AS MATERIALIZED (
{used}
),
moved AS MATERIALIZED (
    SELECT b.*, CASE WHEN b.position + {margin} < b.seqmax
                THEN setval($1::text::regclass, b.position + {margin}) END AS target
    FROM behind b
)
UPDATE {schema}.cursors c
SET position_notice = CASE
        WHEN m.target IS NULL
            THEN format('SequenceAtItsEnd: the sequence of positions is at its maximum, %s', m.seqmax)
        WHEN m.ended
            THEN format('SequenceAtItsEnd: the sequence of positions stood at its maximum, %s, and was '
                        'moved to %s; inserts failed until then', m.last_value, m.target)
        ELSE format('SequenceBehind: the sequence of positions stood at %s, before position %s, which '
                    'is in use, and was moved to %s; inserts may have failed until then',
                    m.last_value, m.position, m.target)
    END,
    position_noticed_at = clock_timestamp()
FROM moved m
WHERE c.shard = (SELECT min(f.shard) FROM {schema}.cursors f)
RETURNING c.position_notice
