"""What talks to PostgreSQL, NATS and Kubernetes for the roles, a room each."""
