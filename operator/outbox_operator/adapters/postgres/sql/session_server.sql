SELECT pg_backend_pid(), pg_is_in_recovery()
