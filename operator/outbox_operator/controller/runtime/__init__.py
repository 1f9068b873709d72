"""When a pass runs: watches, work queue, schedule, Lease. Knows nothing of what it does."""
