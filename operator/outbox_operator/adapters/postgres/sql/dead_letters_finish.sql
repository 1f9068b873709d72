-- Commit, if no letter of the key was left behind and nothing of it is on its way. While the tables
-- are locked no writer has a position that is not committed, and no relay writes dead letters. All
-- in one message: an application that waits for the lock never waits for our process.
SAVEPOINT finish;
SET LOCAL statement_timeout = {held};
DO $finish$
BEGIN
    LOCK TABLE ONLY {schema}.events, ONLY {schema}.dead_letters IN SHARE ROW EXCLUSIVE MODE;
    IF EXISTS (
{letters}
    ) OR (
{pending}
    ) THEN
        RAISE EXCEPTION 'something of the key is on its way' USING ERRCODE = '55000';
    END IF;
END
$finish$;
COMMIT
