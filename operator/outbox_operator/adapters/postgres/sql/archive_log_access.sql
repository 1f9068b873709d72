-- What somebody asked of an archive.
INSERT INTO {schema}.access_log
    (subject, tenant, token_id, client, action, question, outcome, events, bytes, seconds)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
