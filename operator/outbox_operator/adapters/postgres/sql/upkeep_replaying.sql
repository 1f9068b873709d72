-- The rows that replays have still to copy; one that has not moved for that long keeps none.
SELECT min(copied_to) AS after, max(up_to) AS up_to
FROM {schema}.replays
WHERE ended_at IS NULL AND moved_at > clock_timestamp() - make_interval(secs => {kept})
