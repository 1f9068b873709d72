-- Give the chosen rows our transaction, which the new cursor does not see, and the others, where
-- it would not see them either, one that it does. Arguments as in rebase_chosen.sql, and
--   $6 the new cursor
UPDATE {schema}.events e
SET xid = CASE WHEN r.chosen THEN pg_current_xact_id() ELSE '1'::xid8 END
FROM (
{chosen}
) r
WHERE e.position = r.position
  AND (r.chosen OR NOT pg_visible_in_snapshot(r.xid, $6::text::pg_snapshot))
