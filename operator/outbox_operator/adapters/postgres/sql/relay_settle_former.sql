-- A part of relay_settle_letters.sql, where the schema knows former dead letters.
UNION ALL SELECT f.position FROM {schema}.former_dead_letters f
