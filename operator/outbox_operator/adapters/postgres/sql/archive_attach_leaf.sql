ALTER TABLE {schema}.{parent} ATTACH PARTITION {schema}.{leaf} FOR VALUES FROM ({low}) TO ({high})
