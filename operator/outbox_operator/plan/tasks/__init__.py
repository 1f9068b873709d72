"""One-shot tasks: when one may run, on what, after whom, and what its status says"""
