-- How many dead letters there are of some, with the others of their keys, and what tells them from
-- those that come later.
--   $1 to $9 which, as dead_letters_which.sql says   $10 at most so many, oldest first
WITH chosen AS (
    SELECT position, partition_key
    FROM {schema}.dead_letters
    WHERE {which}
    ORDER BY position
    LIMIT $10
)
SELECT count(*) AS chosen,
       (SELECT count(*) FROM {schema}.dead_letters d
        WHERE d.partition_key <> ''
          AND d.partition_key IN (SELECT c.partition_key FROM chosen c)
          AND d.position NOT IN (SELECT c.position FROM chosen c)) AS others_of_keys,
       coalesce(max(position), 0) AS last_position,
       clock_timestamp() AS taken_at
FROM chosen
