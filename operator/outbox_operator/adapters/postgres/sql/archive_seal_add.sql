INSERT INTO {schema}.seals
    (number, kind, class, low, high, archived_from, archived_to, rows, root, previous, sealed_at, hash,
     key, signature, due_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)
