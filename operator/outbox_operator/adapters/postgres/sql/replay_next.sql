-- The next rows that a replay copies, and how far the table was looked at for them; a row without a
-- position if there are none. Arguments as in replay_walk.sql, and
--   $9 rows   $10 bytes; one row at least, however many it has
-- Not as an array: the operator takes no arrays from servers.
WITH walked AS MATERIALIZED (
{walk}
), listed AS (
    SELECT position, row_number() OVER sofar AS number, sum(size) OVER sofar - size AS before
    FROM walked
    WHERE chosen AND fits
    WINDOW sofar AS (ORDER BY position ROWS UNBOUNDED PRECEDING)
)
SELECT n.position, (SELECT count(*) FROM listed) AS found, w.looked, w.last
FROM (SELECT count(*) AS looked, max(position) AS last FROM walked) w
LEFT JOIN listed n ON n.number <= $9 AND n.before < $10
ORDER BY n.position
