-- All seals of an archive, in order.
SELECT * FROM {schema}.seals ORDER BY number
