-- Whether an event of the batch may be in the archive already, of any time, because an outbox's rows were
-- archived: it has the position of one, or says that it happened by then. Those who send events at once know
-- no position, and their clocks may be ahead of the outbox's.
SELECT EXISTS (
    SELECT FROM {schema}.backfills f, pg_temp.outbox_archive_batch b
    WHERE b.occurred_at <= f.began_at + interval '1 hour'
       OR (b.source = f.source AND b.position <= f.up_to)
)
