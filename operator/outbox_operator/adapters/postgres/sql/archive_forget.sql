-- Delete the oldest entries of a log.
--   $1 seconds for which they are kept   $2 how many at most
DELETE FROM {table} WHERE ({key}) IN (
    SELECT {key} FROM {table} WHERE {moment} < clock_timestamp() - make_interval(secs => $1)
    ORDER BY {moment} LIMIT $2
)
