"""Redis and Valkey: one connection, scripts, streams as a sink of the relay."""
