"""Objects that rest: passes over them come to the same again and again.

An object rests once two passes in a row saw the same, said the same and changed nothing. What else
its next pass could find is either in Kubernetes, where watches tell, or at its servers. Those are
asked for all that rest there together, once an interval and in full now and then
(`catalog_interval`); who gets another answer than its last pass had is woken. Nothing is decided
here: that takes a pass, and there is one now and then (`rest`), whatever the answers. All that is
written is that the numbers of a status are still the same (`status_refresh`).
"""

from __future__ import annotations

import asyncio
import logging
import math
import random
from collections.abc import Awaitable, Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeAlias

from outbox_operator.aio import wait
from outbox_operator.controller.runtime.objects import version_of
from outbox_operator.controller.runtime.reconciler import ObjectKey
from outbox_operator.controller.runtime.schedule import EARLIEST
from outbox_operator.errors import KubernetesError, OutboxError
from outbox_operator.plan.status.conditions import without_sample_time

if TYPE_CHECKING:
    from outbox_operator.controller.exported import Exported
    from outbox_operator.controller.reconcile.nats_connections import NatsConnections
    from outbox_operator.controller.reconcile.postgres_connections import PostgresConnections
    from outbox_operator.controller.reconcile.secrets import Secrets
    from outbox_operator.controller.runtime.objects import Objects
    from outbox_operator.controller.settings import Settings

log = logging.getLogger(__name__)

LONGEST_SECONDS: Final = 120.0
"""Longest look at those that rest at one place; who got no answer by then is woken."""


class Surroundings(Protocol):
    """What looks need of the context of a process, which see."""

    @property
    def objects(self) -> Objects: ...
    @property
    def settings(self) -> Settings: ...
    @property
    def exported(self) -> Exported: ...
    @property
    def secrets(self) -> Secrets: ...
    @property
    def nats(self) -> NatsConnections: ...
    @property
    def postgres(self) -> PostgresConnections: ...
    @property
    def doubted(self) -> set[str]: ...
    @property
    def wake(self) -> Callable[[ObjectKey, str], None]: ...
    async def enter(self, namespace: str) -> None:
        """Raise AccessDeniedError where the operator may not work."""


class Place(Protocol):
    """Where questions are asked together: a login at a server. Two that are equal are one."""

    def __hash__(self) -> int: ...

    async def ask(
        self, context: Surroundings, questions: Sequence[Any], *, whole: bool
    ) -> Sequence[object]:
        """Answers in the order of the questions; None: there is none, or only a pass can tell.

        Args:
            context: Of the process.
            questions: What is asked.
            whole: Also for what costs more and is compared now and then.

        Raises OutboxError: nobody could be asked.
        """
        ...


class Kin:
    """An object of ours whose numbers a pass over another one took."""

    def __init__(self, body: Mapping[str, Any]) -> None:
        self._body = body

    def __eq__(self, other: object) -> bool:
        """Whether both say the same; when numbers that stay the same were read is no difference."""
        if not isinstance(other, Kin):
            return NotImplemented
        one, two = self._body, other._body
        return one is two or version_of(one) == version_of(two) or _meaning(one) == _meaning(two)

    __hash__ = None  # type: ignore[assignment]

    def says_still(self, body: Mapping[str, Any]) -> bool:
        """Whether it says the same by now. The newest body is kept, and no other beside it."""
        same = self == Kin(body)
        if same:
            self._body = body
        return same


def _meaning(body: Mapping[str, Any]) -> dict[str, Any]:
    metadata = {key: one for key, one in body["metadata"].items() if key != "resourceVersion"}
    status = without_sample_time(body.get("status") or {})
    return {**body, "metadata": metadata, "status": status}


@dataclass(frozen=True, slots=True, kw_only=True)
class Outside:
    """What a pass saw of all that may change without waking its object.

    Attributes:
        place: Where it is asked for again.
        question: What is asked there.
        answer: What the pass saw.
        secrets: Names of the Secrets that the pass read.
        digest: Of what they held before it read them.
        kin: Objects of ours whose numbers it took.
        longest_seconds: Until something comes up that only a pass does.
    """

    place: Place
    question: Hashable
    answer: object
    secrets: frozenset[str]
    digest: str
    kin: Mapping[ObjectKey, Kin] = field(default_factory=dict)
    longest_seconds: float = math.inf


@dataclass(frozen=True, slots=True)
class Confirming:
    """How it is said of an object that its numbers are still the same.

    Attributes:
        after_seconds: How long that has time at first.
        every_seconds: And again, each time it was said.
        say: Given the newest version of the object that is known, says so; the version since.
    """

    after_seconds: float
    every_seconds: float
    say: Callable[[int], Awaitable[int]]


@dataclass(slots=True)
class _Rest:
    outside: Outside
    version: int
    """The newest of the object itself that its pass knew."""
    confirming: Confirming | None
    confirm_at: float
    unseen: bool = False
    """Whether the API server did not answer at the last look."""


@dataclass(slots=True)
class _Group:
    """Those that are asked for together."""

    due: float
    whole_at: float = math.inf
    """When what is asked now and then is asked as well; begins with the first look."""
    members: dict[ObjectKey, _Rest] = field(default_factory=dict)
    look: asyncio.Task[None] | None = None

    @property
    def is_looked_at(self) -> bool:
        """Whether the last look is still under way."""
        return self.look is not None and not self.look.done()


_Which: TypeAlias = tuple[Place, float]


class Resting:
    """Who rests, and what is asked of whom.

    Args:
        record: Called with the kind of each object that was looked at, and whether it was as
            before.
    """

    def __init__(self, record: Callable[[str, bool], None] = lambda _kind, _same: None) -> None:
        self._record = record
        self._groups: dict[_Which, _Group] = {}
        self._places: dict[ObjectKey, _Which] = {}
        self._confirmed: dict[ObjectKey, object] = {}
        self._changed = asyncio.Event()

    def __len__(self) -> int:
        return len(self._places)

    def rest(
        self,
        key: ObjectKey,
        outside: Outside,
        version: int,
        seconds: float,
        confirming: Confirming | None = None,
    ) -> None:
        """An object rests from now on.

        Args:
            key: The object.
            outside: What its last pass saw.
            version: The newest of the object that this pass knew.
            seconds: How often its place is asked.
            confirming: How it is said that nothing has changed; None: nobody has to.
        """
        self.leave(key)
        which, now = (outside.place, seconds), asyncio.get_running_loop().time()
        self._places[key] = which
        group = self._groups.get(which)
        if group is None:
            group = self._groups[which] = _Group(now + seconds)
            self._changed.set()
        confirm_at = math.inf if confirming is None else now + confirming.after_seconds
        group.members[key] = _Rest(outside, version, confirming, confirm_at)

    def leave(self, key: ObjectKey) -> None:
        """An object does not rest any more: a pass over it begins, or it is gone."""
        which = self._places.pop(key, None)
        if which is not None:
            del self._groups[which].members[key]

    def confirmed(self, key: ObjectKey) -> object | None:
        """The last answer that was as before, once: a pass goes on from there; None: none was."""
        return self._confirmed.pop(key, None)

    async def run(self, context: Surroundings) -> None:
        """Ask for ever; cancelled, it leaves off."""
        loop = asyncio.get_running_loop()
        try:
            while True:
                self._changed.clear()
                for which, group in list(self._groups.items()):
                    if group.is_looked_at:
                        continue  # slow servers hold up nobody but those who rest there
                    if not group.members:
                        del self._groups[which]
                    elif group.due <= loop.time():
                        group.due = loop.time() + which[1]
                        group.look = asyncio.create_task(self._look(context, which[0], group))
                        group.look.add_done_callback(lambda _: self._changed.set())
                dues = [one.due for one in self._groups.values() if not one.is_looked_at]
                await wait(self._changed, max(0.0, min(dues) - loop.time()) if dues else None)
        finally:
            looks = [one.look for one in self._groups.values() if one.look is not None]
            for look in looks:
                look.cancel()
            await asyncio.gather(*looks, return_exceptions=True)

    async def _look(self, context: Surroundings, place: Place, group: _Group) -> None:
        """Ask for all members of a group, and wake those for whom something is otherwise."""
        members, answers = dict(group.members), dict[ObjectKey, object]()
        unseen = set[ObjectKey]()
        now = asyncio.get_running_loop().time()
        whole = group.whole_at <= now
        if whole or group.whole_at == math.inf:
            group.whole_at = now + context.settings.catalog_interval_seconds
        try:
            async with asyncio.timeout(LONGEST_SECONDS):
                asked: dict[ObjectKey, Hashable] = {}
                for key, rest in members.items():
                    before = await self._as_before(context, key, rest)
                    if before:
                        asked[key] = rest.outside.question
                    elif before is None:
                        unseen.add(key)
                    elif group.members.get(key) is rest:
                        self._wake(context, key)
                found = await place.ask(context, list(asked.values()), whole=whole)
                answers = dict(zip(asked, found, strict=True))
        except (OutboxError, TimeoutError) as error:
            log.info("could not look after %d objects that rest: %s", len(members), error)
        except Exception:  # their passes say what is wrong
            log.exception("looking after objects that rest failed by a defect")
        for key, rest in members.items():
            if key in unseen or group.members.get(key) is not rest:
                continue  # the next look tells; or a pass was faster
            if key in answers and answers[key] == rest.outside.answer:
                self._confirmed[key] = answers[key]
                context.exported.confirm(key)
                self._record(key.kind, True)
                await self._confirm(context, key, rest)
            else:
                self._wake(context, key)

    async def _confirm(self, context: Surroundings, key: ObjectKey, rest: _Rest) -> None:
        """Say now and then that all is as before."""
        now = asyncio.get_running_loop().time()
        if rest.confirming is None or now < rest.confirm_at:
            return
        try:
            rest.version = await rest.confirming.say(rest.version)
        except OutboxError as error:
            log.info("could not say that the numbers of %s are the same: %s", key, error)
            if isinstance(error, KubernetesError):
                return  # a pass could not say it either; with the next look
            if self._places.get(key) is not None:
                self._wake(context, key)  # its pass finds out why
            return
        # Those that began to rest together need not go on like that.
        spread = EARLIEST + (1 - EARLIEST) * random.random()  # noqa: S311
        rest.confirm_at = now + rest.confirming.every_seconds * spread

    async def _as_before(self, context: Surroundings, key: ObjectKey, rest: _Rest) -> bool | None:
        """Whether the object itself, its kin and its Secrets are as its last pass saw them.

        None: the API server did not answer, for the first time. While it is restarted passes could
        do no more than that, and there would be one over each that rests.
        """
        body = context.objects.get(key)
        if body is None or version_of(body) > rest.version:
            return False  # somebody else has written its status
        for other, kin in rest.outside.kin.items():
            found = context.objects.get(other)
            if found is None or not kin.says_still(found):
                return False
        try:
            await context.enter(key.namespace)
            held = await context.secrets.digest(key.namespace, rest.outside.secrets)
        except KubernetesError:
            again, rest.unseen = rest.unseen, True
            return False if again else None
        except OutboxError:
            return False
        except Exception:  # its own pass says what is wrong; the others are looked at
            log.exception("the Secrets of %s could not be read by a defect", key)
            return False
        rest.unseen = False
        return held == rest.outside.digest

    def _wake(self, context: Surroundings, key: ObjectKey) -> None:
        self.leave(key)
        self._record(key.kind, False)
        context.wake(key, "changed outside")
