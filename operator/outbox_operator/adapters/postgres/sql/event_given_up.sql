-- Whether a row was a dead letter that somebody gave up: it is never published.
EXISTS (SELECT FROM {schema}.former_dead_letters f WHERE f.position = e.position AND NOT f.released)
