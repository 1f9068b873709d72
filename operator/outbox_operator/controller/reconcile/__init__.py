"""What one pass over a pipeline, stream or consumer does: observe, plan, act, status."""
