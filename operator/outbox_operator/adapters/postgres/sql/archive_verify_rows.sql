-- The rows that a seal is of, each with all that it says.
--   $1 class   $2, $3 from when, and before when the stream stored them
--   $4, $5 from when, and before when they were archived
SELECT timestamptz_send(e.stored_at) || uuid_send(e.id) AS place, e.type, e.sequence,
       convert_to({row}, 'UTF8') AS text
FROM {schema}.events e
WHERE e.class = $1 AND e.stored_at >= $2 AND e.stored_at < $3
  AND e.archived_at >= $4 AND e.archived_at < $5
ORDER BY e.stored_at, e.id, e.source COLLATE "C"
