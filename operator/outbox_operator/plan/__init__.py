"""Decisions without input or output: wanted and observed in, steps or a refusal out."""
