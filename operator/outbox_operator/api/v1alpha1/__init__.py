"""Spec and status of the three kinds in this version of the API."""
