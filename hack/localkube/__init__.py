"""A real Kubernetes on a machine without Docker, for the demo and the tests.

Run by people and Makefiles as ``hack/localkube/localkube COMMAND``; needs nothing but the standard
library, because it runs before any virtual environment exists. The commands are in `cli`.
"""
