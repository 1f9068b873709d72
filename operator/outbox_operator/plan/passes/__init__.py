"""What one pass plans, and what it comes to: from what was gathered to steps, parts, status."""
