SELECT pg_backend_pid() AS pid, pg_is_in_recovery() AS in_recovery
