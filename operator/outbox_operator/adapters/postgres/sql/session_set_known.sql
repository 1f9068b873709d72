-- Settings by name, for as long as the session lives; those the server lacks are left out.
SELECT set_config(s.name, s.value, false)
FROM unnest($1::text[], $2::text[]) AS s (name, value)
WHERE current_setting(s.name, true) IS NOT NULL
