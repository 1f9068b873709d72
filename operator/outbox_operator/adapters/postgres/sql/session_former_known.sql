-- Whether the schema is new enough to know which rows were dead letters.
SELECT to_regclass('{schema}.former_dead_letters') IS NOT NULL
