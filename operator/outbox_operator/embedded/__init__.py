"""Servers of one's own on this machine, from Python wheels: for laptops and tests.

Used by `outbox dev` and by the pytest plugin. Needs the extra `[dev]`; starts ordinary processes
on loopback, as an ordinary user (as root: as a user without rights), and stops them again.
"""
