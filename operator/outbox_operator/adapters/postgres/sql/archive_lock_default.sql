-- At once as strong as attaching a partition needs it: a stronger lock asked for later may deadlock.
LOCK TABLE {schema}.{leaf} IN ACCESS EXCLUSIVE MODE
