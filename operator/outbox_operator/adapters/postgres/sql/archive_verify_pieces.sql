-- The list of rows of a seal.
--   $1 number
SELECT entries FROM {schema}.sealed_rows WHERE seal = $1 ORDER BY piece
