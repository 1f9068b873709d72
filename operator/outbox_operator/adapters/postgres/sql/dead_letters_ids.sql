-- Which of some event ids are dead letters.
--   $1 event ids, JSON
SELECT DISTINCT event_id::text FROM {schema}.dead_letters WHERE event_id::text IN (SELECT jsonb_array_elements_text($1::jsonb))
