-- Note that a replay begins, unless it has; from then on upkeep leaves what it has to read.
--   $1 name   $2 for which durable consumer   $3 up to this position   $4 behind this one
INSERT INTO {schema}.replays (name, target, up_to, copied_to)
VALUES ($1, $2, $3, $4)
ON CONFLICT (name) DO UPDATE SET moved_at = clock_timestamp()
