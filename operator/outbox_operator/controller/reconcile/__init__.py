"""What one pass over a pipeline, stream or consumer does: gather, plan, act, status."""
