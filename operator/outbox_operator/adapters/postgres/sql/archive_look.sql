-- Whether an event of the batch, `b`, is there; NULL: it is not. Nothing but the key is of use for it: the
-- index of times alone looks as good to who does not know the table, and reads all that are in between.
--   $1, $2 from when to when the stream stored what may be the same event   $3 a moment between them
(
    SELECT true FROM {schema}.events e
    WHERE e.id = b.id
      -- Which begins at the source and the first moment, and ends with the source.
      AND (e.source, e.stored_at) >= (b.source, $1) AND (e.source, e.stored_at) <= (b.source, $2)
      -- The same once more for the partitions, in two so that it is for no index.
      AND (e.stored_at >= $1 AND e.stored_at < $3 OR e.stored_at >= $3 AND e.stored_at <= $2)
    LIMIT 1
)
