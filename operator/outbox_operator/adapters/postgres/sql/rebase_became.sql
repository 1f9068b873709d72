-- What became of a transaction: 'in progress', 'committed' or 'aborted'; NULL: nobody knows, it is
-- another server's, or of long ago. Takes a transaction id of its own, to compare with.
--   $1 transaction   $2 system identifier of its server
SELECT CASE WHEN system_identifier::text = $2 AND $1::text::xid8 < pg_current_xact_id()
            THEN pg_xact_status($1::text::xid8) END
FROM pg_control_system()
