-- Rows in the default partition, counted up to a bound.
--   $1 bound
SELECT count(*) FROM (SELECT FROM {table} LIMIT $1) d
