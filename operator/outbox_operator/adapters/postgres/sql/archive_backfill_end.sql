-- The last row of an outbox that is there now, and its server's time.
SELECT coalesce(max(position), 0) AS up_to, clock_timestamp() AS now FROM {schema}.events
