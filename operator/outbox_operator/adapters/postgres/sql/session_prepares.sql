-- Whether transactions may be prepared on this server, for a commit in two phases.
SELECT current_setting('max_prepared_transactions') <> '0'
