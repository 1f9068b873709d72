-- One writer of an archive at a time: two would not see each other's copies of an event.
SELECT pg_advisory_xact_lock($1)
