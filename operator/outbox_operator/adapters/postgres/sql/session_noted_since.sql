-- Since when the schema notes what becomes of dead letters, if there was a time before that.
SELECT v.applied_at
FROM {schema}.schema_version v
WHERE v.version = 5 AND EXISTS (SELECT FROM {schema}.schema_version WHERE version < 5)
