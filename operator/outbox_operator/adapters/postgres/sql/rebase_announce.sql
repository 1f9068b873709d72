-- Which transaction this is, of which server: to be asked later what became of it.
SELECT pg_current_xact_id()::text AS transaction,
       (SELECT system_identifier::text FROM pg_control_system()) AS system
