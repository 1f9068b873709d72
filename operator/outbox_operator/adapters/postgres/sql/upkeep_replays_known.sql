-- Whether the schema is new enough for replays.
SELECT to_regclass('{schema}.replays') IS NOT NULL
