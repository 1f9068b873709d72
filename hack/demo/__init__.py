"""`make demo`: a cluster, the operator and a small shop, shown live and then checked."""
