"""The only code that talks to PostgreSQL, NATS and Kubernetes; the rooms share nothing."""
