-- The first position behind one, whosever row it is: where a walk goes on behind a gap.
--   $1 position   $2 position to stop at
SELECT e.position
FROM {schema}.events e
WHERE e.position > $1 AND e.position <= $2
ORDER BY e.position
LIMIT 1
