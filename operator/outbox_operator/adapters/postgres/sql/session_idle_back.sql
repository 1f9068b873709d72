-- Let a session be idle for as long as the server lets others.
SELECT set_config(name, reset_val, false)
FROM pg_catalog.pg_settings
WHERE name IN ('idle_session_timeout', 'idle_in_transaction_session_timeout')
