SELECT obj_description($1::text::regclass, 'pg_class')
