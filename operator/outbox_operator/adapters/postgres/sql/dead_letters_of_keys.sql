-- How many dead letters each of some keys has.
--   $1 keys, JSON   $2 dead until then, which is included
SELECT partition_key, count(*) AS letters
FROM {schema}.dead_letters
WHERE partition_key IN (SELECT jsonb_array_elements_text($1::jsonb))
  AND dead_at <= $2
GROUP BY partition_key
