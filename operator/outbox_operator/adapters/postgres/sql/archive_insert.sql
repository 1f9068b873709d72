-- What of the batch is not there yet. The key keeps out what comes again; the same event with another
-- time or class is looked for, by id and source, between two moments. How many are new, by class.
--   parameters of archive_look
WITH new AS (
    INSERT INTO {schema}.events ({columns})
    SELECT {columns}
    FROM pg_temp.outbox_archive_batch b
    -- One look for each: as NOT EXISTS it may become a join that reads all of these days.
    WHERE {look} IS NULL
    ON CONFLICT DO NOTHING
    RETURNING class
)
SELECT class, count(*) AS events FROM new GROUP BY class
