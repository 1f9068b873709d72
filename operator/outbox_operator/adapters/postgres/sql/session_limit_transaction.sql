SET LOCAL lock_timeout = {lock};
SET LOCAL statement_timeout = {whole};
SET LOCAL idle_in_transaction_session_timeout = {idle}
