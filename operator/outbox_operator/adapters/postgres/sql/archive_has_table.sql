-- Whether there is a table.
--   $1 qualified name, quoted
SELECT to_regclass($1) IS NOT NULL
