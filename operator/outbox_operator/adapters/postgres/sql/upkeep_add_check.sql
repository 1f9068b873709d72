ALTER TABLE {table} ADD CONSTRAINT outbox_gap CHECK (position < {low} OR position >= {high}) NOT VALID
