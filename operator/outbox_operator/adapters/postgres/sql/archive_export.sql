-- Events of an archive, what is asked of each, in the order of all.
SELECT {columns}
FROM {table} e
{lateral}WHERE {conditions}
ORDER BY {order}{bounds}
