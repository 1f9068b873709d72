"""Spec and status of the four kinds in this version of the API."""
