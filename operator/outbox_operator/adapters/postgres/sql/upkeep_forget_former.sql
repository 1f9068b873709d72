-- Forget former dead letters whose rows are gone.
DELETE FROM {schema}.former_dead_letters
WHERE position < coalesce((SELECT e.position FROM {schema}.events e ORDER BY e.position LIMIT 1),
                          9223372036854775807)
