TRUNCATE {schema}.{leaf}
