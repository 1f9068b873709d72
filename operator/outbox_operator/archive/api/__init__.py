"""Answers questions about an archive over HTTP. Needs the extra `archive`."""
