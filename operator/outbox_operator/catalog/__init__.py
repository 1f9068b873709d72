"""The catalogue of an application's events: their schemas, what changes in them, what really flows.

Used by `outbox catalog`. Needs pydantic.
"""
