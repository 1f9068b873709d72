"""From spec fields to Deployments, ConfigMaps and child resources, and what differs."""
