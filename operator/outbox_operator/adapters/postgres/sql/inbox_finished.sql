SELECT CAST(
    CASE current_setting('outbox.finished', true)
        WHEN '%(transaction)d' THEN '1' ELSE '{committed}'
    END AS integer
);
