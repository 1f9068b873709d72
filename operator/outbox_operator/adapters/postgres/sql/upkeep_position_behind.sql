-- Whether inserts are going to fail, or fail already, because the sequence stands before positions
-- that are in use, or at its end. A few index probes.
SELECT EXISTS (
{used}
)
