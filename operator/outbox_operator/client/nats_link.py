"""The application's way to NATS for immediate sending: one connection, used from any thread.

Whoever commits hands over what to send and goes on at once. Everything else happens on an event
loop: one of its own in a background thread, or that of the connection the application gave. What
cannot be sent within a bounded time is counted and left to the relay; nothing is ever raised.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import threading
import time
import weakref
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from outbox_operator.client.metrics import send_metrics
from outbox_operator.client.nats_connection import (
    Connect,
    GivenConnection,
    Nudges,
    OwnConnection,
    UnheardError,
    UnreachableError,
    complaint_about,
    connector,
)
from outbox_operator.errors import SpecError
from outbox_operator.reasons import Reason

log: Final = logging.getLogger(__name__)

NUDGE_GAP_SECONDS: Final = 0.001
"""Commits closer together than this share a nudge."""
MOST_WAITING: Final = 1000
"""Events handed over and not sent yet; more are left to the relay at once."""


@dataclass(frozen=True, slots=True)
class Job:
    """One committed event to send.

    Attributes:
        headers: Of the message to publish; None: `subject` is only nudged.
        committed: When, on `time.perf_counter`.
    """

    namespace: str
    pipeline: str
    subject: str
    payload: bytes
    headers: Mapping[str, str] | None
    committed: float


class NatsLink:
    """A connection to NATS for immediate sending. Make one per application.

    Several `Outbox` objects may share it. Nothing is connected before the first event is to be
    sent. With a URL or a function, a background thread with an event loop of its own is started
    then; a process that was forked later starts its own. A connection that was given is used on
    the loop that is running when the link is made, and by no forked process.

    Args:
        nats: URLs separated by commas (needs nats-py, extra `client-nats`); or a function that
            connects, for credentials and TLS: `lambda: nats.connect(url, user_credentials=…)`;
            or an open connection of nats-py.
        enabled: The feature flag. False: nothing is connected or sent, and every event is left to
            the relay.
        timeout_seconds: How long an event may take, connecting included, before it is left to
            the relay. The caller never waits.

    Raises:
        SpecError: `timeout_seconds` is not positive; or `nats` is an open connection and no
            event loop is running; or it is a URL, and nats-py is not installed.
    """

    def __init__(
        self, nats: str | Connect | Any, *, enabled: bool = True, timeout_seconds: float = 1.0
    ) -> None:
        if timeout_seconds <= 0:
            raise SpecError(f"timeout_seconds is {timeout_seconds}, wanted more than 0")
        self.enabled = enabled
        if enabled:
            send_metrics()  # a clash of names shall show at the start, not after a commit
        self._timeout_seconds = timeout_seconds
        self._connect: Connect | None = None
        self._given: Any = None
        self._given_loop: asyncio.AbstractEventLoop | None = None
        if not enabled:
            pass  # whatever it is, it is not used
        elif isinstance(nats, str):
            self._connect = connector(nats, timeout_seconds)
        elif callable(getattr(nats, "publish", None)):
            self._given = nats
            try:
                self._given_loop = asyncio.get_running_loop()
            except RuntimeError:
                raise SpecError(
                    "nats is an open connection; make the NatsLink where its event loop runs, or "
                    "pass a URL or a function that connects"
                ) from None
        elif callable(nats):
            self._connect = nats
        else:
            raise SpecError(
                "nats: wanted a URL, an open connection of nats-py, or a function that connects, "
                f"found {type(nats).__name__}"
            )
        self._foreign = False
        self._failing = False
        self._reset()
        _LINKS.add(self)

    def _reset(self) -> None:
        """Start with nothing; also in a forked child, whose copy of a lock may be taken."""
        self._lock = threading.Lock()
        self._settled = threading.Condition(self._lock)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._connection = (
            GivenConnection(self._given)
            if self._connect is None
            else OwnConnection(self._connect, self._timeout_seconds)
        )
        self._waiting = 0
        self._closed = False
        self._nudges: dict[str, _Gathered] = {}
        self._nudged: Nudges | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    def _forked(self) -> None:
        self._reset()
        self._foreign = self._given is not None

    def _submit(self, job: Job) -> None:
        """Send an event soon. Returns at once, raises nothing; from any thread."""
        if not self.enabled:
            return
        send_metrics().attempt(job.namespace, job.pipeline)
        with self._lock:
            reason = self._refusal()
            if reason is None:
                self._waiting += 1
        if reason is not None:
            self._failed(job, reason, _DETAILS[reason])
            return
        try:
            self._running_loop().call_soon_threadsafe(self._start, job)
        except Exception as error:  # noqa: BLE001 - whoever has committed must not hear of it
            given = self._given_loop
            if self._closed or (given is not None and given.is_closed()):
                self._failed(job, Reason.LINK_CLOSED, _DETAILS[Reason.LINK_CLOSED])
            else:  # the process has no file or thread left for a loop
                self._failed(job, Reason.NATS_UNREACHABLE, f"{type(error).__name__}: {error}")
            self._settle()

    def flush(self, timeout_seconds: float = 5.0) -> bool:
        """Wait until everything handed over is sent or left to the relay; not on the link's loop.

        Returns:
            Whether that was so in time.
        """
        with self._settled:
            return self._settled.wait_for(lambda: self._waiting == 0, timeout_seconds)

    def close(self, timeout_seconds: float = 5.0) -> None:
        """Flush, then end the connection and thread of the link. A given connection stays open.

        May be called again, and by several threads.
        """
        if self._given is None:
            self.flush(timeout_seconds)
        with self._lock:
            first = not self._closed
            self._closed = True
            loop, thread = self._loop, self._thread
        if loop is None or thread is None:
            return
        if first:
            with contextlib.suppress(TimeoutError):  # a server that hangs; the thread ends with us
                asyncio.run_coroutine_threadsafe(self._shut(), loop).result(timeout_seconds)
            loop.call_soon_threadsafe(loop.stop)
        thread.join(timeout_seconds)

    def _refusal(self) -> Reason | None:
        if self._closed:
            return Reason.LINK_CLOSED
        if self._foreign:
            return Reason.CONNECTION_OF_PARENT
        return Reason.TOO_MANY_WAITING if self._waiting >= MOST_WAITING else None

    def _running_loop(self) -> asyncio.AbstractEventLoop:
        if self._given_loop is not None:
            return self._given_loop
        with self._lock:
            if self._loop is None:
                loop = asyncio.new_event_loop()
                thread = threading.Thread(
                    target=_run, args=(loop,), name="outbox-nats-link", daemon=True
                )
                try:
                    thread.start()
                except RuntimeError:
                    loop.close()
                    raise
                self._loop, self._thread = loop, thread
            return self._loop

    # From here on: on the loop.

    def _start(self, job: Job) -> None:
        if job.headers is None:
            self._nudges.setdefault(job.subject, _Gathered()).add(job, self._nudge)
        else:
            self._spawn(self._publish(job))

    def _nudge(self, jobs: list[Job]) -> None:
        self._spawn(self._send_nudge(jobs))

    def _spawn(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _send_nudge(self, jobs: list[Job]) -> None:
        async def send(client: Any) -> None:
            if self._nudged is None or self._nudged.client is not client:
                self._nudged = Nudges(client)
            await self._nudged.send(jobs[0].subject, self._timeout_seconds)

        await self._attempt(jobs, send)

    async def _publish(self, job: Job) -> None:
        async def send(client: Any) -> None:
            await client.jetstream(timeout=self._timeout_seconds).publish(
                job.subject, job.payload, headers=dict(job.headers or {})
            )

        await self._attempt([job], send)

    async def _attempt(self, jobs: list[Job], send: Callable[[Any], Awaitable[None]]) -> None:
        try:
            problem = await self._problem(jobs[0].subject, send)
            if problem is not None:
                for job in jobs:
                    self._failed(job, *problem)
                return
            now = time.perf_counter()
            for job in jobs:
                send_metrics().success(job.namespace, job.pipeline, now - job.committed)
            if self._failing:
                self._failing = False
                log.info("immediate sending works again")
        finally:
            self._settle(len(jobs))

    async def _problem(
        self, subject: str, send: Callable[[Any], Awaitable[None]]
    ) -> tuple[Reason, str] | None:
        """Send; reason and words of what went wrong."""
        client = before = problem = None
        try:
            async with asyncio.timeout(self._timeout_seconds):
                client = await self._connection.live()
                before = client.last_error
                await send(client)
        except UnreachableError as error:
            problem = Reason.NATS_UNREACHABLE, str(error)
        except UnheardError as error:
            problem = Reason.NOBODY_LISTENS, f"{error}: {_DETAILS[Reason.NOBODY_LISTENS]}"
        except TimeoutError:
            problem = Reason.SEND_TIMEOUT, f"no answer within {self._timeout_seconds:g} s"
        except Exception as error:  # noqa: BLE001 - whatever a driver raises, the relay has the event
            problem = Reason.SEND_REFUSED, f"{type(error).__name__}: {error}"[:300]
        # Nobody answers what the login may not publish.
        if client is not None and (complaint := complaint_about(subject, client, before)):
            problem = Reason.SEND_REFUSED, complaint
        return problem

    async def _shut(self) -> None:
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._connection.close()

    def _failed(self, job: Job, reason: Reason, detail: str) -> None:
        send_metrics().failure(job.namespace, job.pipeline, reason)
        if not self._failing:
            self._failing = True
            log.warning(
                "immediate sending fails, events of %s/%s come by the relay until it works again: "
                "%s (%s)",
                job.namespace, job.pipeline, detail, reason,
            )  # fmt: skip

    def _settle(self, count: int = 1) -> None:
        with self._settled:
            self._waiting -= count
            if self._waiting == 0:
                self._settled.notify_all()


class _Gathered:
    """Nudges of one pipeline: the first at once, those that follow closely together."""

    def __init__(self) -> None:
        self._jobs: list[Job] = []
        self._sent = float("-inf")

    def add(self, job: Job, send: Callable[[list[Job]], None]) -> None:
        """Send now, or with those that wait."""
        loop = asyncio.get_running_loop()
        self._jobs.append(job)
        if len(self._jobs) > 1:
            return
        due = self._sent + NUDGE_GAP_SECONDS
        if loop.time() >= due:
            self._flush(send)
        else:
            loop.call_at(due, self._flush, send)

    def _flush(self, send: Callable[[list[Job]], None]) -> None:
        self._sent = asyncio.get_running_loop().time()
        jobs, self._jobs = self._jobs, []
        send(jobs)


def _run(loop: asyncio.AbstractEventLoop) -> None:
    asyncio.set_event_loop(loop)
    try:
        loop.run_forever()
    finally:
        loop.close()


_DETAILS: Final = {
    Reason.NOBODY_LISTENS: "the relay does not run, its pipeline has another namespace or name, or "
    "its login may not subscribe there",
    Reason.LINK_CLOSED: "the link is closed",
    Reason.CONNECTION_OF_PARENT: "the connection was made by the parent process; pass a URL or a "
    "function that connects",
    Reason.TOO_MANY_WAITING: f"{MOST_WAITING} events wait already",
}
_LINKS: Final[weakref.WeakSet[NatsLink]] = weakref.WeakSet()


def _after_fork() -> None:
    for link in list(_LINKS):
        link._forked()


os.register_at_fork(after_in_child=_after_fork)
