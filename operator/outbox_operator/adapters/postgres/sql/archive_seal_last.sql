SELECT * FROM {schema}.seals ORDER BY number DESC LIMIT 1
