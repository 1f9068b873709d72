WITH gone AS (
    DELETE FROM {schema}.{default} WHERE stored_at >= {low} AND stored_at < {high} RETURNING *
)
INSERT INTO {schema}.{leaf} SELECT * FROM gone
