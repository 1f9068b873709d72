-- A table for a stretch of time of a class, not yet part of the archive.
CREATE TABLE {schema}.{leaf} (LIKE {schema}.{parent} INCLUDING DEFAULTS INCLUDING STORAGE)
