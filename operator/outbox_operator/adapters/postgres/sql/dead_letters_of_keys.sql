-- How many dead letters each of some keys has.
--   $1 keys, JSON
SELECT partition_key, count(*) AS letters
FROM {schema}.dead_letters
WHERE partition_key IN (SELECT jsonb_array_elements_text($1::jsonb))
GROUP BY partition_key
