-- Events of an archive, each as a line of JSON, with its place in the order of all.
SELECT row_to_json(f)::text AS line, e.stored_at, e.sequence, e.id
FROM {table} e
CROSS JOIN LATERAL (SELECT {fields}) f
WHERE {conditions}
ORDER BY {order}{bounds}
