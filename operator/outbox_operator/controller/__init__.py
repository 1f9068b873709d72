"""The role `outbox operator`: looks after the resources of a cluster."""
