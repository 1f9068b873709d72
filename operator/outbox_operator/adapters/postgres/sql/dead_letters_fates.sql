-- What became of dead letters that are none any more.
--   $1 positions, JSON
SELECT position, released
FROM {schema}.former_dead_letters
WHERE position IN (SELECT jsonb_array_elements_text($1::jsonb)::bigint)
