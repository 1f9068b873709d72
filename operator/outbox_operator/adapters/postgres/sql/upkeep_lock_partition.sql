-- Waits for writers that have a row in this very partition, and for no others.
LOCK TABLE ONLY {table} IN ACCESS EXCLUSIVE MODE
