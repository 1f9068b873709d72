"""Streams in Redis: made, marked, refused; what of the server is in the way."""
