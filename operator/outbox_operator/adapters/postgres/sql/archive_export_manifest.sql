-- The manifest of an export of one's own.
SELECT json_build_object(
    'id', id, 'began_at', began_at, 'ended_at', ended_at, 'moment', moment, 'format', format,
    'question', question::json, 'skipped', skipped, 'events', events, 'bytes', bytes,
    'sha256', sha256)::text AS manifest
FROM {schema}.exports
WHERE id = $1 AND subject = $2 AND tenant IS NOT DISTINCT FROM $3
