-- Let go of the lock, and keep what is moved.
ROLLBACK TO SAVEPOINT finish;
RELEASE SAVEPOINT finish
