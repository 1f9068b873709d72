"""A pipeline on one machine without Kubernetes: same manifest, plan and adapters, own processes.

Behind `outbox dev` and the pytest plugin. `manifest` reads the resources, `setup` brings database,
stream and durable consumers into being, `processes` runs relay and consumers, `app` ties them up.
"""
