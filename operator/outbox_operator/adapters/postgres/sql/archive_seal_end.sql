-- When the last seal of all but those of dropped rows ends.
SELECT archived_to FROM {schema}.seals WHERE kind <> 'dropped' ORDER BY number DESC LIMIT 1
