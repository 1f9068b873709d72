-- Events of an archive, counted by stretch of time and something else.
SELECT date_trunc({interval}, e.stored_at, 'UTC') AS "from", {by}, count(*) AS events
FROM {schema}.events e
WHERE {conditions}
GROUP BY 1, 2
ORDER BY 1, 2
LIMIT {limit}
