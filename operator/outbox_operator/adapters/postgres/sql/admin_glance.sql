-- One outbox among others that are looked at in one statement: its live numbers, its mark, and what
-- else may have befallen it since it was as wanted.
--   $1 as admin_sample.sql
SELECT {number} AS number, numbers.*,
       (SELECT obj_description(oid, 'pg_namespace') FROM pg_namespace WHERE nspname = {named}) AS comment,
       ({behind}) AS behind,
       (SELECT json_agg(c)::text FROM ({cursors}) c) AS cursors
FROM ({sample}) numbers
