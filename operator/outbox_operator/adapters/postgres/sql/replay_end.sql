-- A replay is over; what upkeep wants to empty it does not need any more.
--   $1 name
UPDATE {schema}.replays SET ended_at = coalesce(ended_at, clock_timestamp()) WHERE name = $1
