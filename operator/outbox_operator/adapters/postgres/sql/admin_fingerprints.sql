-- What stands for all that the catalog says of the objects of several outboxes.
--   $6 schemas   $7 types of the arguments of their functions   others as in admin_catalog.sql
SELECT w.number, encode(sha256(convert_to(({catalog}), 'UTF8')), 'hex') AS fingerprint
FROM unnest($6::text[], $7::text[]) WITH ORDINALITY AS w (schema, arguments, number)
