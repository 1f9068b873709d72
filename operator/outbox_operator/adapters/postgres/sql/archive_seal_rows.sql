-- Write down what was archived between two moments: for each class and quarter of an hour a list of its
-- rows, in pieces; how many and what hash each has.
-- Two sources may use one id in one moment: their rows are in the order of the bytes of these.
--   $1, $2 archived from when, and before when   $3 number of the last seal
WITH found AS (
    SELECT e.class, floor(extract(epoch FROM e.stored_at) / {slot})::bigint * {slot} AS slot,
           e.stored_at, e.id, e.source COLLATE "C" AS source,
           sha256(convert_to({row}, 'UTF8')) AS digest
    FROM {schema}.events e
    WHERE e.archived_at >= $1 AND e.archived_at < $2 AND {in_time}
), placed AS (
    SELECT *, dense_rank() OVER (ORDER BY class, slot) AS seal,
           (row_number() OVER (PARTITION BY class, slot ORDER BY stored_at, id, source) - 1)
               / {piece} AS piece
    FROM found
), pieces AS MATERIALIZED (
    SELECT $3::bigint + seal AS seal, class, slot, piece, count(*) AS rows,
           string_agg(timestamptz_send(stored_at) || uuid_send(id) || digest, ''::bytea
                      ORDER BY stored_at, id, source) AS entries
    FROM placed
    GROUP BY seal, class, slot, piece
), kept AS (
    INSERT INTO {schema}.sealed_rows (seal, piece, entries)
    SELECT seal, piece, entries FROM pieces
)
SELECT seal, class, to_timestamp(slot) AS low, rows, sha256(entries) AS hash
FROM pieces
ORDER BY seal, piece
