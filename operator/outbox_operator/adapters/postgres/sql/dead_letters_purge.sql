-- Give dead letters up. Their rows in events are still there: the note says that they were never
-- published, and shall not be.
--   $1 positions, JSON
WITH purged AS (
    DELETE FROM {schema}.dead_letters
    WHERE position IN (SELECT jsonb_array_elements_text($1::jsonb)::bigint)
    RETURNING position
), noted AS (
    INSERT INTO {schema}.former_dead_letters (position, released)
    SELECT position, false FROM purged
    ON CONFLICT (position) DO UPDATE SET released = excluded.released, since = excluded.since
)
SELECT position FROM purged
