"""What the reconcilers that look after tables share: logins, and work over their connections."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Coroutine, Hashable
from dataclasses import dataclass
from typing import Any, TypeVar

from outbox_operator.adapters.postgres.admin import PostgresAdmin
from outbox_operator.adapters.postgres.errors import understood
from outbox_operator.adapters.postgres.url import PostgresTarget
from outbox_operator.api.resource import Meta
from outbox_operator.api.v1alpha1.database import MigratedConnection
from outbox_operator.controller.reconcile.context import Context
from outbox_operator.controller.reconcile.secrets import database_secret_names
from outbox_operator.controller.runtime.reconciler import ObjectKey
from outbox_operator.errors import (
    CredentialsError,
    KubernetesError,
    OutboxError,
    PostgresError,
)
from outbox_operator.plan.passes.result import SessionFailure
from outbox_operator.reasons import Reason

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Logins:
    """How to get into a database.

    Attributes:
        worker: Of the relay or consumer.
        owner: Of the role that migrates; often the same.
    """

    worker: PostgresTarget
    owner: PostgresTarget


@dataclass(frozen=True, slots=True)
class Pending:
    """Work over connections that is under way.

    Attributes:
        elsewhere: Whether the last answer was of other logins, and says nothing of these.
    """

    elsewhere: bool


async def read_logins(
    context: Context, owner: Meta, field: str, declared: MigratedConnection
) -> Logins | SessionFailure:
    """The logins of a database, from its Secrets; or why there are none.

    Args:
        context: With the Secrets.
        owner: The resource that declares it.
        field: Where it does, for messages: "spec.database".
        declared: What stands there.
    """
    try:
        targets = await context.secrets.postgres_targets(owner.namespace, declared, field)
    except OutboxError as error:
        return SessionFailure(error=error, entered=False)
    return Logins(*targets)


def cut_without_logins(context: Context, owner: Meta, failure: SessionFailure) -> None:
    """Cut an object's work, whose logins are gone or are none; not because nobody could read them.

    What the API server did not say just then may be as it was: a migration goes on.
    """
    if not isinstance(failure.error, KubernetesError):
        context.background.cancel(owner.uid)


def forget_refused(
    context: Context, owner: Meta, declared: MigratedConnection, error: OutboxError | None
) -> None:
    """A login that was refused is read anew at the next pass."""
    if isinstance(error, CredentialsError):
        context.secrets.forget(owner.namespace, database_secret_names(declared))


async def in_session(
    context: Context,
    owner: Meta,
    target: PostgresTarget,
    work: Callable[[PostgresAdmin], Awaitable[T]],
    *,
    fresh: bool = False,
) -> T | SessionFailure:
    """Work over a shared connection of a login; its answer, or why there is none.

    Args:
        context: With the connections.
        owner: The resource on whose behalf.
        target: The login.
        work: What to do.
        fresh: Log in anew.
    """
    entered, begun = False, time.monotonic()
    try:
        async with context.postgres.lease(target, ObjectKey.of(owner), fresh=fresh) as admin:
            entered = True
            with understood(target):
                found = await work(admin)
        context.background.answers(target.hosts, time.monotonic() - begun)
        return found
    except OutboxError as error:
        return SessionFailure(error=error, entered=entered)


async def try_worker(
    context: Context,
    owner: Meta,
    logins: Logins,
    whose: str,
    *,
    identity: str | None,
    unwell: bool,
) -> SessionFailure | None:
    """Why pods cannot log in where our tables are; None: they can, or the operator just did so.

    Args:
        context: With the connections.
        owner: The resource whose pods they are.
        logins: Of pods and of the role that migrates.
        whose: The field and whose login it names, for messages.
        identity: Of the database where our tables are; None: nobody knows.
        unwell: Whether pods are not ready: their login may have been changed since, while
            sessions of the operator live on.
    """
    if logins.worker == logins.owner and not unwell:
        return None

    found = await in_session(
        context, owner, logins.worker, lambda admin: admin.identity(), fresh=unwell
    )
    if isinstance(found, SessionFailure):
        error = type(found.error)(f"{whose}: {found.error.message}", reason=found.error.reason)
    elif identity in (None, found):
        return None
    else:
        error = CredentialsError(
            f"{whose}: it leads to another database (identity {found}) than the role that migrates "
            f"(identity {identity}): name the same database in both Secrets",
            reason=Reason.INVALID_SECRET,
        )
    # The role that migrates was let in.
    return SessionFailure(error=error, entered=True, worker=True)


async def in_background(
    context: Context,
    owner: Meta,
    logins: Logins,
    token: Hashable,
    work: Callable[[], Coroutine[Any, Any, T]],
) -> T | SessionFailure | Pending:
    """What came of work over connections; the pass waits for it no longer than a moment.

    Args:
        context: With the work that is under way.
        owner: The resource.
        logins: Whose sessions it needs.
        token: What it depends on besides.
        work: Begins it.

    Returns:
        What `work` answered, or why nobody waits for that any more: it took too long, or the server
        answers to nothing.
    """
    background = context.background
    try:
        done = await background.result(owner, (logins, token), work, logins.owner.hosts)
        silent = context.postgres.silence(logins.owner)
    except TimeoutError:
        silent = context.postgres.silence(logins.owner)
        if silent is None:  # it answers to others
            where = f"PostgreSQL at {logins.owner.address}"
            text = f"{where}: what was to be done there was not done within "
            text += f"{background.longest_seconds:g} s"
            slow = PostgresError(text, reason=Reason.STATEMENT_TIMEOUT)
            return SessionFailure(error=slow, entered=True)
        done = None
    if done is not None:
        return done
    if silent is not None:
        return SessionFailure(error=silent, entered=False)
    match background.answered(owner.uid):
        case (Logins() as before, _):
            return Pending(elsewhere=before != logins)
        case _:
            return Pending(elsewhere=False)
