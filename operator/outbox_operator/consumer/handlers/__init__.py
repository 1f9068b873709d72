"""How a handler is called and what its answer means: HTTP statuses, Python functions."""
