-- By what rows were written once more, in one look: no index leads to them. As dead letters, before the schema noted it
-- (version 5): a later row is the same event, from the same time, and has the same mark, if any. By replays: a later row
-- is a copy of it, or of what it is a copy of.
--   $1 positions (as text, which the driver knows arrays of)
SELECT *
FROM (
    SELECT o.position, n.position AS again, n.replay->>'to' AS consumer, n.of IS NOT DISTINCT FROM o.of AS copied,
           n.created_at = o.created_at AND n.replay IS NOT DISTINCT FROM o.replay AS renewed
    FROM (
        SELECT position, event_id, created_at, replay, coalesce(replay->>'of', position::text) AS of
        FROM {schema}.events
        WHERE position = ANY (($1::text[])::bigint[])
    ) o
    JOIN (
        SELECT position, event_id, created_at, replay, replay->>'of' AS of
        FROM {schema}.events
    ) n ON n.event_id = o.event_id AND n.position > o.position
) found
WHERE copied OR renewed
ORDER BY position, again
