-- By ATTACH, which lets writers pass, unlike CREATE … PARTITION OF.
CREATE TABLE {table} (LIKE {schema}.events INCLUDING DEFAULTS INCLUDING GENERATED);
ALTER TABLE {schema}.events ATTACH PARTITION {table} FOR VALUES FROM ({low}) TO ({high})
