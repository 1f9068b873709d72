-- Begin to move the letters of a key. What this holds keeps nobody waiting but others who move or
-- purge the same letters; it ends by itself when the process stands still.
BEGIN ISOLATION LEVEL READ COMMITTED;
SET LOCAL lock_timeout = {lock};
SET LOCAL idle_in_transaction_session_timeout = {idle};
-- All that is looked for has an index, whatever the server knows of tables that grow quickly.
SET LOCAL enable_seqscan = off;
SET LOCAL jit = off
