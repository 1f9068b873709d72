-- Which relays are there and which shards they hold, from the lock table of this database.
-- Asked every second by every relay; writes nothing and reads no table of ours.
--   $1 class of the locks of members   $2 class of the locks of shards
SELECT l.classid = $1::bigint::oid AS is_member, l.objid::bigint AS number, l.pid,
       l.pid = pg_backend_pid() AS ours
FROM pg_catalog.pg_locks l
WHERE l.locktype = 'advisory' AND l.objsubid = 2 AND l.granted
  AND l.database = (SELECT d.oid FROM pg_catalog.pg_database d WHERE d.datname = current_database())
  AND l.classid IN ($1::bigint::oid, $2::bigint::oid)
