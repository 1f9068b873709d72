"""A verdict on table and stream as a task keeps it between windows, and as it answers. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from outbox_operator.api.resource import Meta
from outbox_operator.api.v1alpha1.task import Finding, TaskResult
from outbox_operator.counted import counted
from outbox_operator.plan.doctor.findings import cut
from outbox_operator.plan.doctor.verdict import FINE, WRONG, Verdict
from outbox_operator.wire.times import format_time

_MEANS: Final = {
    "lost": "published, by the relay's word, and neither in the stream nor a dead letter",
    "duplicate": "further messages of rows that have one already",
    "reordered": "messages that come after one of their key that was written later",
    "misnumbered": "messages whose numbers do not grow",
    "phantom": "messages of rows that do not exist",
}
_REMEDIES: Final = {
    "lost": "kubectl outbox replay {name} -n {namespace}{positions}",
    "duplicate": "an inbox in each consumer keeps effects from repeating  # docs: consume events",
    "reordered": "docs: ordering  # do the writers of a key lock it?",
}

_IF_RAISED: Final = (
    "kubectl outbox verify {name} -n {namespace} --since {begins}  # if its limits were smaller "
    "before; else kubectl outbox replay {name} -n {namespace}{positions}"
)


def kept_verdict(verdict: Verdict) -> dict[str, Any]:
    """As JSON, of a kilobyte or two."""
    return {
        "rows": verdict.rows,
        "messages": verdict.messages,
        "counts": dict(verdict.counts),
        "examples": {
            word: [cut(text) for text in found] for word, found in verdict.examples.items()
        },
        "unproven": verdict.unproven,
        "lost": [list(stretch) for stretch in verdict.lost],
        "moreLost": verdict.more_lost,
        "before": verdict.before,
        "begins": None if verdict.begins is None else verdict.begins.isoformat(),
    }


def verdict_of(kept: Mapping[str, Any]) -> Verdict:
    """What `kept_verdict` made."""
    return Verdict(
        rows=int(kept["rows"]),
        messages=int(kept["messages"]),
        counts=Counter(kept["counts"]),
        examples={word: list(found) for word, found in kept["examples"].items()},
        unproven=list(kept["unproven"]),
        lost=[(int(first), int(last)) for first, last in kept.get("lost", ())],
        more_lost=bool(kept.get("moreLost")),
        before=int(kept.get("before", 0)),
        begins=datetime.fromisoformat(begins) if (begins := kept.get("begins")) else None,
    )


def result_of(verdict: Verdict, pipeline: Meta) -> TaskResult:
    """The answer of a `verify` task: ids and positions, never what is in an event."""
    findings = []
    for word in WRONG:
        count = verdict.counts[word]
        if count:
            some = "; ".join(verdict.examples.get(word, ()))
            findings.append(
                Finding(
                    severity="Error",
                    check=word.capitalize(),
                    object=pipeline.key,
                    message=cut(f"{count} {word}: {_MEANS[word]}{_but(word, verdict)}: {some}"),
                    remedy=_remedy(word, verdict).format(
                        name=pipeline.name,
                        namespace=pipeline.namespace,
                        positions=_positions(verdict),
                        # To the microsecond: what is older by less was forgotten, too.
                        begins="" if verdict.begins is None else format_time(verdict.begins),
                    ),
                )
            )
    if verdict.clean and is_void(verdict):
        text = "nothing is known to be wrong, and nothing is proved"
        findings.append(
            Finding(severity="Error", check="NothingCompared", object=pipeline.key, message=text)
        )
    findings += [
        Finding(severity="Unknown", check="Unproven", object=pipeline.key, message=cut(text))
        for text in verdict.unproven
    ]
    counts = {"rows": verdict.rows, "messages": verdict.messages}
    counts |= {word: verdict.counts[word] for word in WRONG}
    counts |= {word: verdict.counts[word] for word in FINE if verdict.counts[word]}
    return TaskResult(summary=summary(verdict), counts=counts, findings=findings)


def _but(word: str, verdict: Verdict) -> str:
    """What else can have brought it about."""
    if word != "lost" or not verdict.before:
        return ""
    some = "all" if verdict.before == verdict.counts["lost"] else str(verdict.before)
    since = f", which is since {_begins(verdict)}" if verdict.begins else ""
    return (
        f"; {some} of them are older than all that the stream holds{since}: they are not lost if "
        "its limits were smaller then, or the pipeline came from another stream"
    )


def _remedy(word: str, verdict: Verdict) -> str:
    """Nothing is sent again that the stream was right to forget."""
    if word == "lost" and verdict.begins and verdict.before:
        return _IF_RAISED
    return _REMEDIES.get(word, "")


def _begins(verdict: Verdict) -> str:
    return "" if verdict.begins is None else format_time(verdict.begins, "seconds")


def _positions(verdict: Verdict) -> str:
    """Options that say which events are to be sent again."""
    said = "".join(
        f" --position {first}" if first == last else f" --position {first}-{last}"
        for first, last in verdict.lost
    )
    return said + "  # and verify again: there are more" * verdict.more_lost


def summary(verdict: Verdict) -> str:
    """The verdict in a sentence."""
    rows, missing, waiting = verdict.rows, verdict.uncompared, verdict.counts["waiting"]
    proved = "; not all could be proved" if verdict.unproven else ""
    if missing:
        proved = f"; {missing} cannot be compared"
    if not verdict.clean:
        wrong = ", ".join(f"{verdict.counts[w]} {w}" for w in WRONG if verdict.counts[w])
        return f"not all is well: {wrong}, of {counted(rows, 'row')}{proved}"
    if not rows:
        return f"there were no rows to compare{proved}"
    rest = f", {waiting} still wait" if waiting else ""
    if is_void(verdict):
        none = "the only published row cannot"
        if missing > 1:
            none = f"none of {missing} published rows can"
        return f"{none} be compared{rest}"
    found = "the only row is" if rows == 1 else f"all of {rows} rows are"
    if missing:
        found = f"{rows - missing} of {rows} rows are"
    return f"{found} accounted for, once and in order{rest}{proved}"


def is_void(verdict: Verdict) -> bool:
    """Whether rows are published, and of none can be said whether it was in the stream."""
    return 0 < verdict.uncompared >= verdict.rows - verdict.counts["waiting"]
