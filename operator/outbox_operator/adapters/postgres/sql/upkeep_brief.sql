SET LOCAL lock_timeout = {lock};
SET LOCAL idle_in_transaction_session_timeout = {idle}
