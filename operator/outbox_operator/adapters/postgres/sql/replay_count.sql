-- How many of the next rows a replay selects. Arguments as in replay_walk.sql.
SELECT count(*) AS looked, max(position) AS last,
       count(*) FILTER (WHERE chosen AND fits) AS chosen,
       count(*) FILTER (WHERE chosen AND NOT fits) AS unfit,
       -- Later than the snapshot, before the last position of its time: a rebase has moved them, or
       -- they were being written just then.
       count(*) FILTER (WHERE moved) AS moved
FROM (
{walk}
) w
