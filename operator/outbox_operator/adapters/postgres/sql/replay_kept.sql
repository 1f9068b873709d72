-- From when on there are rows, and whether there were any before that upkeep has emptied. Positions
-- only grow, and the first partition is used before all others.
SELECT (SELECT min({readable(o.created_at)}) FROM (SELECT e.created_at FROM {schema}.events e
                                       ORDER BY e.position LIMIT {looked}) o) AS oldest,
       f.position AS first,
       coalesce(f.position, s.last_value + s.is_called::integer)
           >= CASE WHEN c.relkind = 'p' THEN {width} ELSE 2 END AS emptied
FROM pg_catalog.pg_class c
CROSS JOIN {schema}.events_position_seq s
LEFT JOIN LATERAL (SELECT e.position FROM {schema}.events e ORDER BY e.position LIMIT 1) f ON true
WHERE c.oid = '{schema}.events'::regclass
