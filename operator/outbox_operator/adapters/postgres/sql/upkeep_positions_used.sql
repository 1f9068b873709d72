-- A part of upkeep_position_behind.sql and upkeep_mend_position.sql: the sequence of positions, and
-- the highest position in use before which it stands; no row where it stands behind all of them.
-- Rows far beyond what the sequence gets to by itself are in nobody's way; and who follows the one
-- of them that somebody wrote by hand would end up at the end.
SELECT s.*, used.position
FROM (SELECT s.last_value, p.seqmax,
             s.is_called AND s.last_value >= p.seqmax AS ended,
             CASE WHEN s.is_called THEN s.last_value ELSE s.last_value - 1 END AS given
      FROM {sequence} s
      CROSS JOIN pg_catalog.pg_sequence p
      WHERE p.seqrelid = {named}::regclass) s
CROSS JOIN LATERAL (
    SELECT CASE WHEN s.ended THEN 0 ELSE s.given END AS low,
           CASE WHEN s.ended OR s.given < {exact} THEN {exact} ELSE s.seqmax - 2 * {margin} END AS high
) range
CROSS JOIN LATERAL (
    SELECT coalesce(greatest(
        (SELECT e.position FROM {schema}.events e
         WHERE e.position > range.low AND e.position <= range.high
         ORDER BY e.position DESC LIMIT 1),
        (SELECT d.position FROM {schema}.dead_letters d
         WHERE d.position > range.low AND d.position <= range.high
         ORDER BY d.position DESC LIMIT 1),
        (SELECT max(c.last_position) FROM {schema}.cursors c
         WHERE c.last_position > range.low AND c.last_position <= range.high)), 0) AS position
) used
WHERE s.ended OR used.position > s.given
