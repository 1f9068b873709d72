-- Behind every batch that is being stored: writers hold this lock from their rows to the commit.
SELECT pg_advisory_xact_lock_shared($1)
