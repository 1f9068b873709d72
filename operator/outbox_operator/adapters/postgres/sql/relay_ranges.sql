-- A part of relay_span.sql and its kin, and of relay_positions.sql: what lies between the transactions
-- that were open in S2, in order. The rows of these are passed over, however many they are.
(SELECT ARRAY(SELECT x FROM unnest($4::text[]::xid8[]) AS o (x)
              WHERE x >= $2::text::xid8 AND x < $3::text::xid8) AS xids) open
CROSS JOIN LATERAL unnest(
    ($2::text::bigint - 1)::text::xid8 || open.xids, open.xids || $3::text::xid8
) AS range (after, before)
