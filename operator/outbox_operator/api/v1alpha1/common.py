"""Parts that several kinds share: the NATS connection, policies, pod settings, status base."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from outbox_operator.api import patterns
from outbox_operator.api.conditions import Condition
from outbox_operator.api.fields import (
    ApiModel,
    SecretKey,
    SecretKeyRef,
    SecretName,
    cel,
    model_rules,
)

DeletionPolicy = Literal["Retain", "Delete"]
AdoptionPolicy = Literal["Fail", "Adopt"]


class Tls(ApiModel):
    """TLS. Without `caSecretRef` the system's certificate authorities are trusted."""

    model_config = model_rules(
        cel(
            "has(self.certSecretRef) == has(self.keySecretRef)",
            "set certSecretRef and keySecretRef together",
        )
    )

    caSecretRef: SecretKeyRef | None = Field(
        default=None, description="PEM bundle of the authorities that sign the server."
    )
    certSecretRef: SecretKeyRef | None = Field(
        default=None, description="PEM client certificate, for mutual TLS."
    )
    keySecretRef: SecretKeyRef | None = Field(
        default=None, description="PEM private key of the client certificate."
    )


class NatsTls(Tls):
    """TLS towards NATS. Without `caSecretRef` the system's certificate authorities are trusted."""

    handshakeFirst: bool = Field(
        default=False,
        description="Start TLS before the server's greeting; needed where the server says so.",
    )


class UserSecret(ApiModel):
    """User name and password from one Secret."""

    name: SecretName = Field(description="Name of the Secret.")
    usernameKey: SecretKey = Field(default="username", description="Key of the user name.")
    passwordKey: SecretKey = Field(default="password", description="Key of the password.")


class NatsConnection(ApiModel):
    """Where NATS is and how to log in. At most one of the four credential kinds."""

    model_config = model_rules(
        cel(
            "[has(self.credentialsSecretRef), has(self.userSecretRef), "
            "has(self.tokenSecretRef), has(self.nkeySecretRef)].filter(x, x).size() <= 1",
            "set at most one of credentialsSecretRef, userSecretRef, tokenSecretRef, nkeySecretRef",
        )
    )

    url: str = Field(
        pattern=patterns.NATS_URLS,
        max_length=1024,
        description="One or more server URLs, comma-separated, without credentials: "
        "nats://nats.nats:4222. A host without a dot is a Service of the resource's namespace.",
    )
    credentialsSecretRef: SecretKeyRef | None = Field(
        default=None, description="A .creds file (JWT and seed)."
    )
    userSecretRef: UserSecret | None = Field(default=None, description="User name and password.")
    tokenSecretRef: SecretKeyRef | None = Field(default=None, description="A token.")
    nkeySecretRef: SecretKeyRef | None = Field(default=None, description="An NKey seed.")
    tls: NatsTls | None = Field(default=None, description="TLS settings for tls:// URLs.")
    domain: str | None = Field(
        default=None,
        pattern=patterns.JETSTREAM_DOMAIN,
        description="JetStream domain, for servers behind a leaf node.",
    )


class StreamPlace(ApiModel):
    """Where a stream was seen, by which a login that leads elsewhere is told from a lost stream."""

    url: str = Field(description="The servers that were asked, as declared.")
    domain: str | None = Field(default=None, description="JetStream domain, as declared.")
    cluster: str | None = Field(default=None, description="Name that the servers' cluster gives.")
    account: str | None = Field(
        default=None, description="NATS account of the login; absent: the server does not say."
    )
    declared: str | None = Field(default=None, description="Hash of the declared connection.")


PodTemplate = dict[str, Any]


def pod_template(what: str) -> Any:
    """The field that passes pod settings through to a workload."""
    return Field(
        default=None,
        description=f"Merged into the pod template of {what} by strategic rules: metadata "
        "(labels, annotations) and spec (resources, nodeSelector, tolerations, affinity, "
        "imagePullSecrets, containers by name, …) as in any Kubernetes workload.",
        json_schema_extra={"x-kubernetes-preserve-unknown-fields": True},
    )


class StatusBase(ApiModel):
    """What every status has."""

    observedGeneration: int | None = Field(
        default=None, description="The `metadata.generation` this status speaks of."
    )
    conditions: list[Condition] = Field(
        default_factory=list,
        description="Ready sums up; Reconciling and Stalled follow kstatus; one per part.",
        json_schema_extra={
            "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["type"],
        },
    )
    operatorVersion: str | None = Field(
        default=None, description="Version of the operator that last reconciled this in full."
    )
    driftCorrectedCount: int = Field(
        default=0,
        description="How often a Kubernetes object made for this one was changed or deleted by "
        "someone else and put back.",
    )
    lastDriftTime: str | None = Field(default=None, description="When that last happened.")
    lastDrift: str | None = Field(default=None, description="What had changed then.")
