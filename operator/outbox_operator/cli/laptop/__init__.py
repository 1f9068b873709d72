"""`outbox dev VERB`: the verbs of a cluster for what `outbox dev` runs on this machine."""
