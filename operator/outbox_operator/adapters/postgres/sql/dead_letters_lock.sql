SET LOCAL lock_timeout = {lock};
SET LOCAL statement_timeout = {held};
LOCK TABLE ONLY {schema}.events, ONLY {schema}.dead_letters IN SHARE ROW EXCLUSIVE MODE
