-- Write down that the schema has a version now.
--   $1 version   $2 hash of the plan   $3 version of the operator
INSERT INTO {schema}.schema_version (version, plan_hash, operator_version)
VALUES ($1, $2, $3)
ON CONFLICT (version) DO UPDATE
SET plan_hash = excluded.plan_hash, operator_version = excluded.operator_version,
    applied_at = clock_timestamp()
