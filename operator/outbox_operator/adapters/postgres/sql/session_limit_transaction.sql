SET LOCAL lock_timeout = {lock};
SET LOCAL statement_timeout = {whole}
