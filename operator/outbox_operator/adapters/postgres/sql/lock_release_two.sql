-- And tell those who wait for it.
SELECT pg_advisory_unlock($1, $2) FROM pg_notify($3, '')
