-- One moment of each stretch that rows of a default partition are in.
--   $1 length of a stretch in seconds   $2 how many at most
SELECT to_timestamp(seconds::float8) AS moment
FROM (SELECT DISTINCT floor(extract(epoch FROM stored_at) / $1::bigint) * $1::bigint AS seconds
      FROM {schema}.{leaf} WHERE {in_time}) s
ORDER BY seconds
LIMIT $2
