-- What an export came to.
INSERT INTO {schema}.exports
    (id, subject, tenant, began_at, moment, format, question, skipped, events, bytes, sha256)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
