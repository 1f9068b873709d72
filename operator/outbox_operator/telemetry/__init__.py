"""Logs, metrics, probes and spans of every role."""
