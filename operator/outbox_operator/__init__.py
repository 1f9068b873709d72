"""outbox-operator: the transactional outbox on Kubernetes."""
