"""Manifests of pods that live for one session of a person, made of the relay's. Pure.

Such a pod is where the relay's is, with its pull secrets, account, sidecars and Secrets, so that
what it reaches is what the relay reaches. It serves nobody: neither probes nor the labels by which
Deployments, Services and budgets pick pods.
"""

from __future__ import annotations

import copy
import shlex
from collections.abc import Mapping, Sequence
from typing import Any, Final

from outbox_operator.api import meta
from outbox_operator.plan.kubernetes import secret_files
from outbox_operator.plan.kubernetes.secret_files import SecretFile
from outbox_operator.plan.names import label_value
from outbox_operator.plan.status.workload import STUCK_REASONS
from outbox_operator.wire.config import CONFIG_MOUNT, CONFIG_PATH_ENV, SECRETS_MOUNT

MANAGED_BY: Final = "kubectl-outbox"
REQUESTED_BY_ANNOTATION: Final = f"{meta.GROUP}/requested-by"
CONFIG_ANNOTATION: Final = f"{meta.GROUP}/config"
CONTAINER: Final = "client"
LOGIN_FOLDER: Final = "/session"
_LOGIN: Final = "login"
_NO_SUCH_VERB: Final = "no verb 'login-files'"
_LIMITS: Final = {"requests": {"cpu": "10m", "memory": "32Mi"}, "limits": {"memory": "512Mi"}}


def pod(
    deployment: Mapping[str, Any],
    *,
    verb: str,
    pipeline: str,
    user: str,
    suffix: str,
    seconds: int,
    image: str | None = None,
    config: str | None = None,
    files: tuple[SecretFile, ...] = (),
) -> dict[str, Any]:
    """A pod that waits for commands and ends by itself.

    Args:
        deployment: A relay's, or a consumer's that runs our program.
        verb: What it is made for.
        pipeline: Whose it is; empty: of a consumer alone.
        user: Who has it made.
        suffix: Of its name, so that it has one of its own.
        seconds: How long it lives at most.
        image: Of the client; its container has the logins of `verb` and no Secret. None: our own
            program, with the configuration and Secrets of the Deployment's pods.
        config: Configuration in place of the Deployment's.
        files: What that configuration names.
    """
    template = copy.deepcopy(deployment["spec"]["template"])
    spec, metadata = template["spec"], template.get("metadata") or {}
    ours = container_of(spec)
    if ours is None:
        raise ValueError("no container of the Deployment runs our program")
    kept = {
        name: value
        for name, value in (metadata.get("annotations") or {}).items()
        if not name.startswith(f"{meta.GROUP}/") and not name.startswith("prometheus.io/")
    }
    annotations = {**kept, REQUESTED_BY_ANNOTATION: user}
    if config is not None:
        annotations[CONFIG_ANNOTATION] = config
        _configure(spec, files)
    program = {
        name: value
        for name, value in ours.items()
        if name not in ("startupProbe", "livenessProbe", "readinessProbe", "lifecycle", "ports")
    }
    wait = {"command": ["sleep"], "args": [str(seconds)]}
    others = [one for one in spec["containers"] if one is not ours]
    if image is None:
        main = {**program, **wait, "name": CONTAINER}
    else:
        first = {**program, "name": _LOGIN, "args": ["login-files", verb, LOGIN_FOLDER]}
        first["volumeMounts"] = [*(program.get("volumeMounts") or ()), _mount()]
        first["terminationMessagePolicy"] = "FallbackToLogsOnError"
        spec["initContainers"] = [*(spec.get("initContainers") or ()), first]
        spec["volumes"] = [
            *(spec.get("volumes") or ()),
            {"name": _LOGIN, "emptyDir": {"medium": "Memory", "sizeLimit": "16Mi"}},
        ]
        tmp = [one for one in program.get("volumeMounts") or () if one["name"] == "tmp"]
        main = {
            "name": CONTAINER, "image": image, **wait, "resources": _LIMITS,
            "securityContext": {
                "allowPrivilegeEscalation": False,
                "capabilities": {"drop": ["ALL"]},
                "readOnlyRootFilesystem": True,
            },
            "volumeMounts": [*map(dict, tmp), _mount()],
        }  # fmt: skip
    spec["containers"] = [main, *others]
    spec.pop("topologySpreadConstraints", None)
    spec |= {
        "restartPolicy": "Never",
        "activeDeadlineSeconds": seconds,
        "terminationGracePeriodSeconds": 1,
    }
    labels = {
        # Those of a podTemplate: of a mesh, of a workload identity, of policies.
        **{
            name: value
            for name, value in (metadata.get("labels") or {}).items()
            if not name.startswith(("app.kubernetes.io/", f"{meta.GROUP}/"))
        },
        meta.MANAGED_BY_LABEL: MANAGED_BY,
        meta.NAME_LABEL: "outbox-session",
        meta.COMPONENT_LABEL: verb,
    }
    if pipeline:
        labels[meta.PIPELINE_LABEL] = label_value(pipeline)
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": f"{deployment['metadata']['name'][:40].rstrip('-.')}-{verb}-{suffix}",
            "namespace": deployment["metadata"]["namespace"],
            "labels": labels,
            "annotations": annotations,
        },
        "spec": spec,
    }


def container_of(spec: Mapping[str, Any]) -> dict[str, Any] | None:
    """The container of a pod that runs our program; None: there is none."""
    for one in spec["containers"]:
        if any(variable.get("name") == CONFIG_PATH_ENV for variable in one.get("env") or ()):
            found: dict[str, Any] = one
            return found
    return None


def command(words: Sequence[str], folder: str = LOGIN_FOLDER) -> list[str]:
    """A command with the logins of a folder in its environment."""
    return ["sh", "-c", f'. {shlex.quote(f"{folder}/login.sh")} && exec "$@"', "sh", *words]


def trouble(body: Mapping[str, Any]) -> str | None:
    """Why a pod will not come to work by itself; None: nothing says that."""
    status = body.get("status") or {}
    if status.get("phase") in ("Failed", "Succeeded"):
        said = _ended(status) or status.get("message") or status.get("reason") or "it ended"
        return " ".join(str(said).split())[-1000:]
    for one in _statuses(status):
        waiting = (one.get("state") or {}).get("waiting") or {}
        if waiting.get("reason") in STUCK_REASONS:
            said = f"{waiting['reason']} {waiting.get('message') or ''}"
            return f"container {one['name']}: {' '.join(said.split())[:1000]}"
    return None


def waits_for(body: Mapping[str, Any]) -> str:
    """What a pod that does not run yet waits for, for people."""
    status = body.get("status") or {}
    said = [
        str(one.get("message") or one.get("reason"))
        for one in status.get("conditions") or ()
        if one.get("type") == "PodScheduled" and one.get("status") == "False"
    ]
    said += [
        f"container {one['name']}: {reason}"
        for one in _statuses(status)
        if (reason := ((one.get("state") or {}).get("waiting") or {}).get("reason"))
    ]
    return "; ".join(said)[:1000] or f"phase {status.get('phase') or 'unknown'}"


def runs(body: Mapping[str, Any]) -> bool:
    """Whether the container that waits for commands runs."""
    return any(
        one.get("name") == CONTAINER and "running" in (one.get("state") or {})
        for one in (body.get("status") or {}).get("containerStatuses") or ()
    )


def _mount() -> dict[str, Any]:
    return {"name": _LOGIN, "mountPath": LOGIN_FOLDER}


def _configure(spec: dict[str, Any], files: tuple[SecretFile, ...]) -> None:
    """Have our program find another configuration and other Secrets where it looks for its own."""
    source = {
        "downwardAPI": {
            "items": [
                {
                    "path": "config.json",
                    "fieldRef": {"fieldPath": f"metadata.annotations['{CONFIG_ANNOTATION}']"},
                }
            ]
        }
    }
    ours = container_of(spec)
    mounts = {} if ours is None else {m["mountPath"]: m["name"] for m in ours["volumeMounts"]}
    sources = {
        mounts.get(CONFIG_MOUNT): source,
        mounts.get(SECRETS_MOUNT): secret_files.volume(files),
    }
    spec["volumes"] = [
        {"name": one["name"], **sources[one["name"]]} if one["name"] in sources else one
        for one in spec["volumes"]
    ]


def _statuses(status: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    fields = ("initContainerStatuses", "containerStatuses")
    return [one for field in fields for one in status.get(field) or ()]


def _ended(status: Mapping[str, Any]) -> str | None:
    for one in _statuses(status):
        ended = (one.get("state") or {}).get("terminated") or {}
        if ended.get("exitCode"):
            said = ended.get("message") or ended.get("reason") or f"exit code {ended['exitCode']}"
            if _NO_SUCH_VERB in said:
                said = "the image of the operator is of a version without it; bring it up to date"
            return f"container {one['name']}: {said}"
    return None
