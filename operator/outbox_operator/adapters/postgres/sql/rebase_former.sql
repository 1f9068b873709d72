-- A part of rebase_chosen.sql, where the schema knows them: what was a dead letter was released as
-- another row, or given up.
AND NOT EXISTS (SELECT FROM {schema}.former_dead_letters f WHERE f.position = e.position)
