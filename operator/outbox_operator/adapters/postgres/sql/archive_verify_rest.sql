-- What no seal covers: rows that say they are older than any, those behind the last one, and which of these say
-- that they are of the future.
--   $1 when seals begin   $2 when they end
SELECT count(*) FILTER (WHERE archived_at < $1) AS early,
       count(*) FILTER (WHERE archived_at >= $2) AS late,
       count(*) FILTER (WHERE archived_at > clock_timestamp() + interval '1 hour') AS ahead,
       min(id::text) FILTER (WHERE archived_at > clock_timestamp() + interval '1 hour') AS id
FROM {schema}.events
WHERE archived_at < $1 OR archived_at >= $2
