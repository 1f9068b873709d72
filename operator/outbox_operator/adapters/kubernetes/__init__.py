"""Kubernetes: requests, watches, Events, the Lease, what a pod says about itself."""
