-- Keep partitions as they are. Before the first SELECT of a transaction that sees one moment: what is moved
-- or dropped between that moment and its locks is to be seen nowhere.
LOCK TABLE {schema}.events IN ACCESS SHARE MODE
