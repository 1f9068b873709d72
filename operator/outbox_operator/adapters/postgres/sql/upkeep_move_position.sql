SELECT setval($1::text::regclass, $2, false) FROM {sequence} WHERE last_value < $2
