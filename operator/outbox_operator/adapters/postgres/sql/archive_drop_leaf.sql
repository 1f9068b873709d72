DROP TABLE {schema}.{leaf}
