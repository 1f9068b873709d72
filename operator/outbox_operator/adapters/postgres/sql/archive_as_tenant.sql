-- Whose events the rest of the transaction may see: see the policy of the table.
SELECT set_config('outbox.tenant', $1, true), set_config('outbox.all_tenants', $2, true),
       set_config('statement_timeout', $3, true)
