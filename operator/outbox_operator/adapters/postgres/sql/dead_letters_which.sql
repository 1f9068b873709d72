-- Which dead letters: a part of other statements. A NULL argument takes all. Lists are JSON: of an
-- array, the driver would ask the server what it is.
--   $1 positions   $2 event ids   $3 keys   $4 event types   $5 reasons   $6 dead since
--   $7 dead before   $8 up to this position   $9 dead until then, which is included
($1::jsonb IS NULL OR position IN (SELECT jsonb_array_elements_text($1)::bigint))
  AND ($2::jsonb IS NULL OR event_id::text IN (SELECT jsonb_array_elements_text($2)))
  AND ($3::jsonb IS NULL OR partition_key IN (SELECT jsonb_array_elements_text($3)))
  AND ($4::jsonb IS NULL OR event_type IN (SELECT jsonb_array_elements_text($4)))
  AND ($5::jsonb IS NULL OR reason IN (SELECT jsonb_array_elements_text($5)))
  AND ($6::timestamptz IS NULL OR dead_at >= $6)
  AND ($7::timestamptz IS NULL OR dead_at < $7)
  AND ($8::bigint IS NULL OR position <= $8)
  AND ($9::timestamptz IS NULL OR dead_at <= $9)
