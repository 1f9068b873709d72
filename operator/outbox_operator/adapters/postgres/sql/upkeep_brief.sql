SET LOCAL lock_timeout = {lock}
