-- Give dead letters up.
--   $1 positions
DELETE FROM {schema}.dead_letters WHERE position = ANY ($1::bigint[]) RETURNING position
