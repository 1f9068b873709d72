"""From what a pass found to conditions and status fields."""
