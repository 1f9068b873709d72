"""Logs, metrics and probes of every role."""
