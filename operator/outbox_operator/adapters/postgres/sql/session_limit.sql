SET lock_timeout = {lock};
SET statement_timeout = {whole}
