"""How many pods a backlog asks for: numbers, limits and earlier looks in, count and why out."""
