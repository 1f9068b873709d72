-- When the server was started: another moment means that it went away meanwhile.
SELECT pg_postmaster_start_time()
