"""What is not well and what heals it: from facts of cluster, PostgreSQL and NATS to findings."""
