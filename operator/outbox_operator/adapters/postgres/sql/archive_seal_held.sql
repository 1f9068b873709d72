-- How many rows of a partition were archived before what is sealed ends.
SELECT count(*)
FROM {schema}.{leaf}
WHERE archived_at < (
    SELECT archived_to FROM {schema}.seals WHERE kind <> 'dropped' ORDER BY number DESC LIMIT 1)
