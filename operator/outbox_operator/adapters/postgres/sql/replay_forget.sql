-- Forget replays of long ago.
DELETE FROM {schema}.replays WHERE ended_at < clock_timestamp() - interval '90 days'
