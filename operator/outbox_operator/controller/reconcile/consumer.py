"""EventConsumer: keep one durable consumer, its inbox table and its workload as declared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, ClassVar, Final

from outbox_operator import version
from outbox_operator.api import meta
from outbox_operator.api.conditions import ConditionType
from outbox_operator.api.resource import Consumer, parse_consumer
from outbox_operator.api.v1alpha1.consumer import EventConsumerStatus
from outbox_operator.controller.reconcile.base import BaseReconciler
from outbox_operator.controller.reconcile.cache import LastResult
from outbox_operator.controller.reconcile.consumer_durable import Durables
from outbox_operator.controller.reconcile.consumer_group import delete_groups, group_pass
from outbox_operator.controller.reconcile.consumer_tables import ensure_tables
from outbox_operator.controller.reconcile.context import Context
from outbox_operator.controller.reconcile.jetstream import connect
from outbox_operator.controller.reconcile.postgres import Logins
from outbox_operator.controller.reconcile.resting import Kin, Outside
from outbox_operator.controller.reconcile.scaling import Scaling
from outbox_operator.controller.reconcile.secrets import redis_secret_names, secret_names
from outbox_operator.controller.reconcile.votes import votes_on
from outbox_operator.controller.reconcile.workloads import Beside, Workloads
from outbox_operator.controller.runtime.reconciler import ObjectKey
from outbox_operator.errors import OutboxError
from outbox_operator.plan.archives import api_of
from outbox_operator.plan.checks import check_consumer
from outbox_operator.plan.kubernetes.archive_api import api_objects, api_secret_refs
from outbox_operator.plan.kubernetes.logins import consumer_logins
from outbox_operator.plan.kubernetes.workloads import (
    consumer_login_refs,
    consumer_objects,
    consumer_replicas,
    consumer_secret_refs,
)
from outbox_operator.plan.names import archive_api_name, durable_name, workload_name
from outbox_operator.plan.passes.approval import Vote
from outbox_operator.plan.passes.consumer import (
    condition_types,
    consumer_result,
    is_asleep,
    is_scaled,
    keeps_pods,
    may_rest,
    restarting,
)
from outbox_operator.plan.passes.durable import (
    DurableResult,
    not_ready,
    unacknowledged,
)
from outbox_operator.plan.passes.inbox import InboxResult
from outbox_operator.plan.passes.result import PassResult
from outbox_operator.plan.passes.source import StreamNotFoundError, resolve_any
from outbox_operator.plan.scaling.result import Scaled
from outbox_operator.plan.sources import AnySource, RedisSource
from outbox_operator.plan.status.conditions import Part, failed
from outbox_operator.plan.status.workload import (
    WorkloadResult,
    kept,
    not_started,
    replicas,
    stopped_by,
    was_there,
)
from outbox_operator.reasons import Reason

_PASS_SECONDS: Final = 1.5
"""Between two passes over a consumer that has no pods, and that cannot be looked at otherwise."""
INBOX_PENDING: Final = "started or changed once its inbox or archive has been looked at"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Secrets:
    """What pods would be made with.

    Attributes:
        checksum: Of all that they mount.
        logins: Of what they log in with.
        api: Of all that the pods of its archive's API mount.
    """

    checksum: str
    logins: str
    api: str = ""


class ConsumerReconciler(BaseReconciler[Consumer, EventConsumerStatus]):
    """One pass over one EventConsumer."""

    kind = meta.CONSUMER
    status_type = EventConsumerStatus
    live_fields: ClassVar[frozenset[str]] = frozenset(
        {"consumer", "archive", "sampledAt", "autoscaling"}
    )

    def __init__(self, context: Context, workloads: Workloads) -> None:
        super().__init__(context)
        self._workloads = workloads
        self._sources: dict[str, AnySource] = {}
        self._durables = Durables(context)
        self._logins: LastResult[str] = LastResult()
        self._tried: dict[str, Logins] = {}
        """By UID, logins of an inbox that lead to one database."""
        self._scaling = Scaling()

    def parse(self, body: Mapping[str, Any]) -> Consumer:
        """The typed resource."""
        return parse_consumer(body, stored=True)

    def condition_types(self, resource: Consumer) -> Sequence[ConditionType]:
        """The parts of an EventConsumer, which depend on what it declares."""
        return condition_types(resource.spec, in_redis=self._in_redis(resource))

    def interval_seconds(self, resource: Consumer) -> float:
        """Shorter with pods: a rotated Secret must roll them soon, and is read at a pass.

        Still shorter where their number follows the messages.
        """
        settings = self.context.settings
        handled = resource.spec.handler is not None
        autoscaling = resource.spec.autoscaling
        if autoscaling is not None and autoscaling.builtin:
            if is_asleep(resource):
                # Looks cost little; a pass, where something cannot be asked for again, does not.
                least = 0.0 if resource.meta.uid in self._saw else _PASS_SECONDS
                return max(settings.asleep_interval_seconds, least)
            return min(settings.handler_interval_seconds, settings.busy_interval_seconds)
        return settings.handler_interval_seconds if handled else settings.consumer_interval_seconds

    async def work(self, resource: Consumer) -> PassResult[EventConsumerStatus]:
        """Durable consumer, then inbox, then workload; each says for itself how it went."""
        check_consumer(resource.spec)
        votes = votes_on(self.context.objects, resource)
        inbox = InboxResult()
        workload = WorkloadResult()
        try:
            source = self._resolve(resource)
        except OutboxError as error:
            durable = DurableResult(parts=(not_ready(error),))
            return self._result(resource, durable, inbox, workload, votes)
        self._sources[resource.meta.uid] = source
        # Before anything is looked at: pods are rolled to nothing newer than what was seen.
        digest, kin = await self._digest(resource, source), self._kin(resource)
        secrets = await self._secrets(resource, source)
        seen = None
        if isinstance(source, RedisSource):
            durable = await group_pass(self.context, resource, source)
        else:
            durable, seen = await self._durables.ensure(resource, source, votes)
        waiting = unacknowledged(resource, durable)
        inbox = await ensure_tables(self.context, resource, self._tried, waiting, votes)
        earlier = tuple(part for part in (*durable.parts, *inbox.parts) if part.blocks)
        scaled: Scaled | None = None
        if any(part.reason == Reason.TAKEN_OVER for part in durable.parts):
            workload = await self._no_workload(resource)
        elif inbox.pending and resource.spec.handler is not None:
            workload = not_started(ConditionType.WORKLOAD_AVAILABLE, INBOX_PENDING)
        elif isinstance(secrets, OutboxError):
            workload = WorkloadResult(part=failed(ConditionType.WORKLOAD_AVAILABLE, secrets))
        elif (why := self._keeps_pods(resource, durable, inbox, secrets)) is not None:
            workload = kept(ConditionType.WORKLOAD_AVAILABLE, why)
        else:
            scaled = self._scaling.of_consumer(
                resource, durable.load, self._workloads.deployment(resource.meta),
                resetting=self._resets(resource),
            )  # fmt: skip
            workload = await self._workload(resource, source, secrets, earlier, scaled)
        # A pass has to notice that a task which resets it is gone.
        calm = workload.restarts is None and self._workloads.is_calm(resource.meta.uid)
        calm = calm and may_rest(resource.spec, scaled) and self._resets(resource) is None
        if seen is not None and digest is not None and calm:
            place, question, answer = seen
            outside = Outside(
                place=place, question=question, answer=answer,
                secrets=_secret_names(resource, source), digest=digest, kin=kin,
            )  # fmt: skip
            self.saw(resource, outside)
        return self._result(resource, durable, inbox, workload, votes, scaled)

    def _result(
        self,
        resource: Consumer,
        durable: DurableResult,
        inbox: InboxResult,
        workload: WorkloadResult,
        votes: Sequence[Vote],
        scaled: Scaled | None = None,
    ) -> PassResult[EventConsumerStatus]:
        pods = self._workloads.pods(resource.meta)
        now = datetime.now(UTC)
        return consumer_result(
            resource, durable, inbox, workload, now, pods=pods, votes=votes, scaled=scaled
        )

    def _resets(self, resource: Consumer) -> str | None:
        """Why there are no pods for a while; None: no task needs that."""
        task = self._durables.resetting(resource)
        return None if task is None else f"task {task} resets it"

    async def _digest(self, resource: Consumer, source: AnySource) -> str | None:
        """Of the Secrets that the pass reads; None: they cannot be read."""
        names = _secret_names(resource, source)
        try:
            return await self.context.secrets.digest(resource.meta.namespace, names)
        except OutboxError:
            return None

    def _kin(self, resource: Consumer) -> dict[ObjectKey, Kin]:
        """The EventStream that it reads."""
        ref = resource.spec.streamRef
        key = ObjectKey(meta.STREAM, resource.meta.namespace, ref.name if ref else "")
        body = self.context.objects.get(key)
        return {} if body is None else {key: Kin(body)}

    async def _secrets(self, resource: Consumer, source: AnySource) -> _Secrets | OutboxError:
        """What pods would be made with; or why nobody knows."""
        namespace, spec, broker = resource.meta.namespace, resource.spec, source.broker
        checksum = self.context.secrets.checksum
        if spec.handler is None:
            return _Secrets(checksum="", logins="")
        try:
            mounted = await checksum(namespace, consumer_secret_refs(spec, broker))
            of_logins = await checksum(namespace, consumer_login_refs(spec, broker))
            of_api = await checksum(namespace, api_secret_refs(spec))
        except OutboxError as error:
            return error
        logins = self._logins.get(
            resource.meta.uid,
            (resource.meta.generation, broker, of_logins),
            lambda: consumer_logins(resource, broker, of_logins),
        )
        return _Secrets(checksum=mounted, logins=logins, api=of_api)

    def _keeps_pods(
        self, resource: Consumer, durable: DurableResult, inbox: InboxResult, secrets: _Secrets
    ) -> str | None:
        """Why pods that run are left as they are; None: they need not be."""
        owner = resource.meta
        if not self._workloads.exists(owner):
            return None
        name = workload_name(owner.name)
        changed = self._workloads.logins_changed(owner, name, secrets.logins)
        return keeps_pods(durable, inbox, changed=changed)

    def _resolve(self, resource: Consumer) -> AnySource:
        return resolve_any(resource, self._stream(resource))

    def _stream(self, resource: Consumer) -> Mapping[str, Any] | None:
        """The EventStream that it names, if that exists."""
        ref = resource.spec.streamRef
        return self.context.objects.get(
            ObjectKey(meta.STREAM, resource.meta.namespace, ref.name if ref else "")
        )

    def _in_redis(self, resource: Consumer) -> bool:
        body = self._stream(resource)
        return body is not None and bool(body["spec"].get("redis"))

    async def _workload(
        self,
        resource: Consumer,
        source: AnySource,
        secrets: _Secrets,
        earlier: Sequence[Part],
        scaled: Scaled | None,
    ) -> WorkloadResult:
        """The pods of a handler; they begin once everything before them is in place."""
        owner, spec, kind = resource.meta, resource.spec, ConditionType.WORKLOAD_AVAILABLE
        if spec.handler is None:
            return await self._no_workload(resource)
        restart = restarting(resource)
        wanted = consumer_replicas(spec, None if scaled is None else scaled.count)
        declared = None if scaled is not None and is_scaled(spec) else wanted
        stopped = self._resets(resource) or stopped_by("spec", spec.state, declared)
        try:
            manifests = consumer_objects(
                resource,
                source,
                image=self.context.settings.image,
                secret_checksum=secrets.checksum,
                logins=secrets.logins,
                restarted_at=self._workloads.restarted_at(
                    owner, workload_name(owner.name), now=restart
                ),
                replicas=wanted if stopped is None else 0,
                settings=self.context.settings.pods,
            )
            manifests += api_objects(
                resource,
                image=self.context.settings.image,
                secret_checksum=secrets.api,
                restarted_at=self._workloads.restarted_at(
                    owner, archive_api_name(owner.name), now=restart
                ),
                settings=self.context.settings.pods,
            )
            prerequisites_met = all(part.status == "True" for part in earlier)
            if not prerequisites_met and not self._workloads.exists(owner):
                return not_started(
                    kind, "waits for the durable consumer and for the inbox or archive"
                )
            return await self._workloads.ensure(
                kind,
                owner,
                manifests,
                stopped=stopped,
                restarting=restart,
                had=was_there(resource, kind, version.VERSION),
                beside=_api_beside(resource),
            )
        except OutboxError as error:
            return WorkloadResult(part=failed(kind, error))

    async def _no_workload(self, resource: Consumer) -> WorkloadResult:
        """None is declared, or it would handle messages of somebody else's durable consumer."""
        await self._workloads.remove(resource.meta)
        gone = not self._workloads.exists(resource.meta)
        return WorkloadResult(
            numbers=replicas(None) if gone else None, restarted=restarting(resource)
        )

    async def clean_up(self, resource: Consumer) -> None:
        """With deletionPolicy Delete: delete the durable consumer that carries our mark."""
        if resource.spec.deletionPolicy == "Retain":
            return
        try:
            source = self._resolve(resource)
        except StreamNotFoundError:
            # The EventStream went with us; where it was is remembered unless we restarted since.
            remembered = self._sources.get(resource.meta.uid)
            if remembered is None:
                await self._left_behind(resource)
                return
            source = remembered
        if isinstance(source, RedisSource):
            await delete_groups(self.context, resource, source)
            return
        admin = await connect(self.context, resource.meta, source.nats)
        observed = await admin.consumer_info(source.stream, durable_name(resource))
        if observed is not None and observed.owner_uid == resource.meta.uid:
            await admin.delete_consumer(source.stream, observed.name)

    async def _left_behind(self, resource: Consumer) -> None:
        owner, before = resource.meta, resource.status.consumer
        body = self.context.objects.get(ObjectKey.of(owner))
        if body is None or before is None:
            return
        note = (
            "its EventStream is gone, so nobody knows where the stream is; left behind: durable "
            f"consumer {before.name} of stream {before.stream}, if that still exists"
        )
        await self.events.event(body, reason=Reason.CLEANUP_ABANDONED, note=note)

    def forget(self, key: ObjectKey, uid: str) -> None:
        """The object is gone."""
        self._workloads.forget(uid)
        self._sources.pop(uid, None)
        self._durables.forget(uid)
        self._tried.pop(uid, None)
        self._logins.forget(uid)
        self._scaling.forget(uid)
        super().forget(key, uid)


def _api_beside(consumer: Consumer) -> Beside | None:
    """The pods of its archive's API, if it has one."""
    api = api_of(consumer.spec)
    if api is None:
        return None
    return Beside(
        kind=ConditionType.API_AVAILABLE,
        deployment=archive_api_name(consumer.meta.name),
        stopped=None if api.replicas else "spec.handler.archive.api.replicas is 0",
    )


def _secret_names(consumer: Consumer, source: AnySource) -> frozenset[str]:
    """Secrets that a pass reads, unless there is an inbox."""
    mounted = {name for name, _ in consumer_secret_refs(consumer.spec, source.broker)}
    of_api = {name for name, _ in api_secret_refs(consumer.spec)}
    of_broker = (
        redis_secret_names(source.redis)
        if isinstance(source, RedisSource)
        else secret_names(source.nats)
    )
    return frozenset(mounted | of_api | of_broker)
