"""Streams and durable consumers: made, changed, made again, refused; all their settings."""
