"""What Kubernetes says of pods: stuck, out of memory, evicted, kept from the network. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from outbox_operator.api import meta
from outbox_operator.counted import counted
from outbox_operator.plan.amounts import span
from outbox_operator.plan.doctor.findings import Check, Finding, error, warning
from outbox_operator.plan.doctor.objects import seconds_since
from outbox_operator.plan.status.workload import pod_troubles
from outbox_operator.reasons import Reason

Body = Mapping[str, Any]

EVENT_SECONDS: Final = 3600.0
"""What happened before that is history."""
MANY_RESTARTS: Final = 5
MEMORY_SECONDS: Final = 86_400.0
_TELLING: Final = frozenset(
    {"FailedScheduling", "FailedMount", "FailedCreatePodSandBox", "FailedAttachVolume", "Evicted",
     "Preempted", "NodeNotReady", "FailedCreate", "OOMKilling", "NetworkNotReady", "Failed"}
)  # fmt: skip
"""Reasons of Events that pods themselves do not show, or no longer."""
_STARTING: Final = frozenset(
    {"FailedScheduling", "FailedMount", "FailedCreatePodSandBox", "FailedAttachVolume",
     "NetworkNotReady", "Failed"}
)  # fmt: skip
"""Those that keep a pod from starting: over, once it is ready."""


def check_pods(pods: Sequence[Body], now: datetime) -> Iterator[Finding]:
    """What is not well with relays and consumers, and pods of the operator."""
    for pod in pods:
        yield from _check(pod, now)


def pod_name(pod: Body) -> str:
    """`Pod/namespace/name`."""
    return f"Pod/{pod['metadata'].get('namespace', '')}/{pod['metadata']['name']}"


def _check(pod: Body, now: datetime) -> Iterator[Finding]:
    metadata, status = pod["metadata"], pod.get("status") or {}
    namespace, name = metadata.get("namespace", ""), metadata["name"]
    if status.get("phase") == "Failed":
        word = status.get("reason") or "Failed"
        evicted = word in ("Evicted", "Preempting", "NodeShutdown", "Terminated")
        yield (warning if evicted else error)(
            Check.POD_EVICTED if evicted else Check.POD_STUCK, pod_name(pod),
            f"{word}: {status.get('message') or 'ended'}",
            remedy=f"kubectl -n {namespace} delete pod {name}  # another one runs in its place",
        )  # fmt: skip
        return
    if metadata.get("deletionTimestamp") or status.get("phase") == "Succeeded":
        return
    logs = f"kubectl -n {namespace} logs {name} --previous --tail=30"
    for reason, text in pod_troubles([pod], {}):
        if reason is Reason.PODS_NOT_READY:
            yield warning(
                Check.POD_NOT_READY, pod_name(pod), "runs and is not ready",
                remedy=f"kubectl -n {namespace} logs {name} --tail=30",
            )  # fmt: skip
        else:
            yield error(
                Check.POD_STUCK, pod_name(pod), text,
                remedy=logs if reason is Reason.CRASH_LOOP_BACK_OFF
                else f"kubectl -n {namespace} describe pod {name}",
            )  # fmt: skip
    for container in status.get("containerStatuses") or ():
        yield from _container(pod, container, now, logs)


def _container(pod: Body, container: Body, now: datetime, logs: str) -> Iterator[Finding]:
    which, restarts = container.get("name", ""), int(container.get("restartCount") or 0)
    last = (container.get("lastState") or {}).get("terminated") or {}
    ended = seconds_since(last.get("finishedAt"), now)
    killed = last.get("reason") == "OOMKilled" or last.get("exitCode") == 137
    if killed and (ended is None or ended < MEMORY_SECONDS):
        limit = next(
            (
                ((one.get("resources") or {}).get("limits") or {}).get("memory")
                for one in (pod.get("spec") or {}).get("containers") or ()
                if one.get("name") == which
            ),
            None,
        )
        ago = "" if ended is None else f" {span(ended)} ago"
        kill = "out of memory" if last.get("reason") == "OOMKilled" else "killed (137)"
        yield error(
            Check.OUT_OF_MEMORY, pod_name(pod),
            f"container {which} ended {kill}{ago}, limit {limit or 'none'}; "
            f"{counted(restarts, 'restart')}",
            wanted="room: a higher podTemplate.spec.containers[].resources.limits.memory",
            remedy=_edit(pod),
        )  # fmt: skip
    elif restarts >= MANY_RESTARTS and (ended is None or ended < EVENT_SECONDS):
        yield warning(
            Check.POD_RESTARTS, pod_name(pod),
            f"container {which} has been started anew {counted(restarts, 'time')}, "
            "last with exit code "
            f"{last.get('exitCode', '?')}",
            remedy=logs,
        )  # fmt: skip


def _edit(pod: Body) -> str:
    """The command that changes the resource a pod is of; of another's, what shows the pod."""
    metadata = pod["metadata"]
    labels = metadata.get("labels") or {}
    namespace = metadata.get("namespace", "")
    if labels.get(meta.MANAGED_BY_LABEL) == meta.MANAGED_BY:
        if pipeline := labels.get(meta.PIPELINE_LABEL):
            return f"kubectl -n {namespace} edit obp/{pipeline}"
        if consumer := labels.get(meta.INSTANCE_LABEL):
            return f"kubectl -n {namespace} edit evc/{consumer}"
    return f"kubectl -n {namespace} describe pod {metadata['name']}"


def check_events(
    events: Iterable[Body], pods: Sequence[Body], workloads: Iterable[str], now: datetime
) -> Iterator[Finding]:
    """Warnings of the last hour about our pods and what makes them, the latest of each kind.

    What kept a pod from starting that has become ready since is nobody's trouble any more.

    Args:
        events: Of `v1`, all of the namespaces.
        pods: Those that are there.
        workloads: `namespace/name` of our Deployments, whose pods may be gone.
        now: The time.
    """
    ready = {
        (p["metadata"].get("namespace"), p["metadata"]["name"]): _ready_seconds(p, now)
        for p in pods
    }
    prefixes = tuple(f"{one}-" for one in workloads)
    latest: dict[tuple[str, str], tuple[float, Body]] = {}
    for event in events:
        about = event.get("involvedObject") or {}
        namespace, name = str(about.get("namespace") or ""), str(about.get("name") or "")
        ours = (namespace, name) in ready or f"{namespace}/{name}-".startswith(prefixes or ("\0",))
        if event.get("type") != "Warning" or event.get("reason") not in _TELLING or not ours:
            continue
        series = event.get("series") or {}
        times = (series.get("lastObservedTime"), event.get("lastTimestamp"), event.get("eventTime"))
        age = next((a for text in times if (a := seconds_since(text, now)) is not None), None)
        if age is None or age > EVENT_SECONDS:
            continue
        since = ready.get((namespace, name))
        if event["reason"] in _STARTING and since is not None and since <= age:
            continue
        key = (f"{about.get('kind')}/{namespace}/{name}", str(event["reason"]))
        if key not in latest or age < latest[key][0]:
            latest[key] = (age, event)
    for (about_name, reason), (age, event) in latest.items():
        namespace = about_name.split("/")[1]
        yield warning(
            Check.POD_EVENT, about_name,
            f"{reason} {span(age)} ago: {event.get('message') or ''}",
            remedy=f"kubectl -n {namespace} events --types=Warning",
        )  # fmt: skip


def _ready_seconds(pod: Body, now: datetime) -> float | None:
    """For how long a pod has been ready; None: it is not, or nobody says since when."""
    for one in (pod.get("status") or {}).get("conditions") or ():
        if one.get("type") == "Ready" and one.get("status") == "True":
            return seconds_since(one.get("lastTransitionTime"), now)
    return None


def check_policies(
    policies: Iterable[Body], pods: Sequence[Body], ports: Mapping[str, Mapping[int, str]]
) -> Iterator[Finding]:
    """NetworkPolicies that let a pod of ours open no connection to a port that it needs.

    Only ports are compared: whether peers are meant by selectors or addresses, nobody can tell from
    here. What several policies allow adds up, as Kubernetes says.

    Args:
        policies: Of the namespaces.
        pods: Relays and consumers.
        ports: By name of a pod, the ports it needs and what for.
    """
    policies = list(policies)
    told: set[tuple[str, str, int]] = set()
    for pod in pods:
        namespace, name = pod["metadata"].get("namespace"), pod["metadata"]["name"]
        selecting = [
            one
            for one in policies
            if one["metadata"].get("namespace") == namespace
            and "Egress" in _types(one.get("spec") or {})
            and _selects((one.get("spec") or {}).get("podSelector") or {}, pod)
        ]
        if not selecting:
            continue
        names = ", ".join(sorted(one["metadata"]["name"] for one in selecting))
        owner = (pod["metadata"].get("labels") or {}).get(meta.INSTANCE_LABEL, name)
        for port, what in {**ports.get(name, {}), 53: "name servers"}.items():
            key = (str(namespace), str(owner), port)
            if key in told or any(
                _allows(rule, port) for one in selecting for rule in _egress(one)
            ):
                continue
            told.add(key)
            yield error(
                Check.NETWORK_POLICY, pod_name(pod),
                f"NetworkPolicy {names} lets it open no connection to port {port} ({what})",
                f"egress to port {port}",
                f"kubectl -n {namespace} describe networkpolicy {names.split(', ')[0]}",
            )  # fmt: skip


def _types(spec: Body) -> Sequence[str]:
    default = ["Ingress", *(["Egress"] if spec.get("egress") else [])]
    return spec.get("policyTypes") or default


def _egress(policy: Body) -> Sequence[Body]:
    return (policy.get("spec") or {}).get("egress") or ()


def _allows(rule: Body, port: int) -> bool:
    ports = rule.get("ports")
    if not ports:
        return True
    for one in ports:
        first = one.get("port")
        if first is None or not isinstance(first, int):  # by name: of whichever pod is meant
            return True
        if first <= port <= (one.get("endPort") or first):
            return True
    return False


def _selects(selector: Body, pod: Body) -> bool:
    labels = pod["metadata"].get("labels") or {}
    if any(labels.get(k) != v for k, v in (selector.get("matchLabels") or {}).items()):
        return False
    for one in selector.get("matchExpressions") or ():
        found, values = labels.get(one["key"]), one.get("values") or ()
        holds = {
            "In": found in values,
            "NotIn": found not in values,
            "Exists": one["key"] in labels,
            "DoesNotExist": one["key"] not in labels,
        }.get(one.get("operator"), True)
        if not holds:
            return False
    return True
