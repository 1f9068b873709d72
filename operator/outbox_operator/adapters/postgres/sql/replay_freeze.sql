-- Settle what a replay is about: rows up to the last one of now that are visible now. What a
-- transaction writes that is under way is not in it.
SELECT pg_current_snapshot()::text AS snapshot,
       coalesce((SELECT e.position FROM {schema}.events e ORDER BY e.position DESC LIMIT 1), 0) AS up_to
