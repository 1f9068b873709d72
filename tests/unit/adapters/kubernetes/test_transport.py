"""What the refusals of the API server become, and how long a watch pauses."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from outbox_operator.adapters.kubernetes.login import Credentials
from outbox_operator.adapters.kubernetes.objects import (
    Ref,
    collection_path,
    name_selector,
    object_path,
    ref_of,
)
from outbox_operator.adapters.kubernetes.territory import with_cure
from outbox_operator.adapters.kubernetes.transport import (
    ExpiredError,
    NotFoundError,
    WriteConflictError,
    error_of,
)
from outbox_operator.adapters.kubernetes.watch import pause_seconds
from outbox_operator.errors import (
    AccessDeniedError,
    KubernetesError,
    OutboxError,
    SpecError,
)
from outbox_operator.plan.names import label_value, selector_text

INVALID = {
    "message": 'EventStream "a" is invalid: [long text]',
    "details": {
        "causes": [
            {"field": "spec.maxAge", "message": "wants 30s", "reason": "FieldValueInvalid"},
            {"message": "nothing of this fits"},
        ]
    },
}
TERMINATING = {"message": "no", "details": {"causes": [{"reason": "NamespaceTerminating"}]}}


@pytest.mark.parametrize(
    ("code", "answer", "error", "reason", "text"),
    [
        (404, {"message": "gone"}, NotFoundError, "NotFound", "gone"),
        (409, {"message": "modified"}, WriteConflictError, "WriteConflict", "modified"),
        (410, {"message": "too old"}, ExpiredError, "Expired", "too old"),
        (401, {}, AccessDeniedError, "PermissionDenied", "HTTP 401"),
        (403, {"message": "cannot list"}, AccessDeniedError, "PermissionDenied", "cannot list"),
        (403, TERMINATING, AccessDeniedError, "NamespaceTerminating", "no"),
        (422, INVALID, SpecError, "InvalidSpec",
         "spec.maxAge: wants 30s; object: nothing of this fits"),
        (400, {"message": "bad"}, SpecError, "InvalidSpec", "bad"),
        (429, {"message": "slow"}, KubernetesError, "KubernetesUnavailable", "HTTP 429"),
        (500, {"message": "etcd"}, KubernetesError, "KubernetesUnavailable", "HTTP 500"),
    ],
)  # fmt: skip
def test_refusals(
    code: int, answer: dict[str, Any], error: type[OutboxError], reason: str, text: str
) -> None:
    found = error_of("PATCH deployments shop/relay", code, answer)
    assert type(found) is error
    assert found.reason == reason
    assert found.message.startswith("PATCH deployments shop/relay: ")
    assert text in found.message


@pytest.mark.parametrize(
    ("path", "answer", "said"),
    [
        ("/api/v1/namespaces/shop/secrets/db", {}, "gives them: bind shop (GET it: HTTP 403)"),
        ("/apis/apps/v1/namespaces/shop/deployments", {}, "namespace shop; who owns it"),
        # Nobody's to give, or no matter of rights.
        ("/api/v1/namespaces/kube-system", {}, None),
        ("/apis/coordination.k8s.io/v1/namespaces/system/leases/operator", {}, None),
        ("/api/v1/namespaces/shop/secrets/db", TERMINATING, None),
    ],
)
def test_a_right_that_a_namespace_lacks_comes_with_the_command(
    path: str, answer: dict[str, Any], said: str | None
) -> None:
    error = error_of("GET it", 403, answer)
    found = with_cure(error, path, lambda namespace: f"bind {namespace}")
    assert found is error if said is None else said in found.message
    assert found.reason == error.reason
    assert with_cure(error, path, None) is error


def test_credentials_do_not_show_the_token() -> None:
    secret = Credentials(
        server="https://api", insecure=False, ca_path=None, certificate_path=None,
        private_key_path=None, authorization="Bearer hush",
    )  # fmt: skip
    assert "hush" not in f"{secret!r} {secret}"


@pytest.mark.parametrize(
    ("ref", "path"),
    [
        (Ref("v1", "secrets", "shop", "db"), "/api/v1/namespaces/shop/secrets/db"),
        (Ref("apps/v1", "deployments", "shop", "r"), "/apis/apps/v1/namespaces/shop/deployments/r"),
        (Ref("v1", "namespaces", "", "shop"), "/api/v1/namespaces/shop"),
    ],
)
def test_paths(ref: Ref, path: str) -> None:
    assert object_path(ref) == path
    assert object_path(ref, "status") == f"{path}/status"


@pytest.mark.parametrize("made", [
    lambda typed: object_path(Ref("v1", "secrets", "shop", typed)),
    lambda typed: object_path(Ref("v1", "secrets", typed, "db")),
    name_selector,
    lambda typed: selector_text({"a": label_value(typed)}),
])  # fmt: skip
def test_what_somebody_types_leads_nowhere_else(made: Callable[[str], str]) -> None:
    """Not to another object by a path, and not to others by a selector."""
    for typed in (
        "a,b", "a=b", "a in (b,c)", "!a", "../secrets/db", "a/b", "..", "a?x", "a%2fb", "a b", "ü",
    ):  # fmt: skip
        with pytest.raises(SpecError, match="is no name of an object of Kubernetes"):
            made(typed)


def test_a_collection_of_the_whole_cluster() -> None:
    assert collection_path("apps/v1", "deployments") == "/apis/apps/v1/deployments"


def test_where_a_manifest_lives() -> None:
    manifest = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "a", "namespace": "b"}}
    assert ref_of(manifest) == Ref("v1", "secrets", "b", "a")
    with pytest.raises(SpecError, match="Gadget"):
        ref_of({**manifest, "kind": "Gadget"})


def test_a_watch_pauses_longer_with_every_failure_but_not_for_ever() -> None:
    pauses = [pause_seconds(failures, 0.5) for failures in range(40)]
    assert pauses == sorted(pauses)
    assert pauses[0] <= 0.1
    assert 5 <= pauses[-1] <= 10
