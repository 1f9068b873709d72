-- What of the batch is not there yet. The key keeps out what comes again; the same event with another
-- time or class is looked for, by its id, between two moments. How many are new, by class.
--   $1, $2 from when to when the stream stored what may be the same event
WITH new AS (
    INSERT INTO {schema}.events ({columns})
    SELECT {columns}
    FROM pg_temp.outbox_archive_batch b
    -- One look by id for each: as NOT EXISTS it may become a join that reads all of these days.
    WHERE (
        SELECT true FROM {schema}.events e
        WHERE e.id = b.id AND e.source = b.source AND e.stored_at >= $1 AND e.stored_at <= $2
        LIMIT 1
    ) IS NULL
    ON CONFLICT DO NOTHING
    RETURNING class
)
SELECT class, count(*) AS events FROM new GROUP BY class
