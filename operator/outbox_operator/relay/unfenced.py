"""What people are told of a relay that publishes without its fence."""

from __future__ import annotations

from outbox_operator.adapters.sink import StreamFacts


def beside_others(subjects: str, facts: StreamFacts, *, subject: str, sequence: int) -> str:
    """Say that somebody else publishes to our subjects.

    Args:
        subjects: Ours.
        facts: Of the stream.
        subject: Of the other's last message.
        sequence: Of the same, in the stream.
    """
    return (
        f"somebody else publishes to {subjects} of stream {facts.stream}, last on {subject} "
        f"(sequence {sequence}): publishing without the fence, {_duplicates(facts)}"
    )


def republishing(facts: StreamFacts) -> str:
    """Say that a stream which takes the copies would refuse those with a fence."""
    return (
        f"stream {facts.stream} republishes what it stores, and a stream that takes the copies "
        f"would refuse those with a fence: publishing without it, {_duplicates(facts)}"
    )


def copies_refused(facts: StreamFacts, seconds: float) -> str:
    """Say what was refused since republishing began.

    Args:
        facts: Of the stream.
        seconds: Since we saw last that it did not republish, at most.
    """
    return (
        f"stream {facts.stream} began to republish what it stores: a stream that takes the copies "
        f"may have refused copies of what was published with the fence in the last {seconds:.1f} s"
    )


def _duplicates(facts: StreamFacts) -> str:
    if not facts.duplicate_window_seconds:
        return "earlier owners of the shard are kept out by their epoch"
    return f"duplicates are dropped within {facts.duplicate_window_seconds:g} s only"
