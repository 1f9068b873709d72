"""What `outbox version` does: the versions of this program, of the operator and of the cluster."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from outbox_operator.adapters.kubernetes.transport import NotFoundError
from outbox_operator.api import meta
from outbox_operator.cli.cluster import reading
from outbox_operator.cli.cluster.report import Report
from outbox_operator.cli.cluster.screen import Screen
from outbox_operator.cli.cluster.session import Session
from outbox_operator.errors import AccessDeniedError
from outbox_operator.version import VERSION


@dataclass(frozen=True, slots=True, kw_only=True)
class Versions:
    """The facts of `outbox version`.

    Attributes:
        client: Of this program.
        cluster: Of the API server; None: it was not asked, or does not say.
        api: Versions of our resources that the API server has; None: it was not asked.
        kinds: Of our resources that it has.
        operators: Versions that reconciled pipelines, streams or consumers last, with how many;
            None: they may not be read here.
    """

    client: str
    context: str | None = None
    cluster: str | None = None
    api: tuple[str, ...] | None = None
    kinds: tuple[str, ...] = ()
    operators: dict[str, int] | None = None


async def look(session: Session) -> Report:
    """Ask the API server; `view` suffices."""
    found = Versions(
        client=VERSION,
        context=session.kube.context,
        cluster=await session.api.server_version(),
        api=await session.api.served(meta.GROUP),
    )
    if found.api:
        found = dataclasses.replace(
            found,
            kinds=await session.api.kinds(meta.API_VERSION),
            operators=await _operators(session),
        )
    return report(found)


def report(found: Versions) -> Report:
    """Versions as a report; well if our resources are there in the version that we speak."""

    def lines(screen: Screen) -> Iterator[str]:
        yield f"client     {found.client}"
        if found.context is None:
            return
        yield from screen.wrap(f"cluster    {found.cluster} (context {found.context})")
        kinds = ", ".join(found.kinds)
        yield from screen.wrap(
            f"resources  {meta.GROUP} {', '.join(found.api or ())}: {kinds}"
            if found.api
            else f"resources  none of {meta.GROUP} are installed",
            hang=" " * 11,
        )
        yield f"operator   {_said(found.operators)}"

    missing = sorted(set(meta.PLURALS) - set(found.kinds)) if found.api else []
    return Report(
        facts=found,
        lines=lines,
        names=[found.client],
        well=found.context is None or (bool(found.api) and not missing),
    )


def _said(operators: dict[str, int] | None) -> str:
    if operators is None:
        return "not known: the resources may not be read here"
    if not operators:
        return "none has reconciled anything in this namespace; -A looks at all"
    return ", ".join(f"{version} ({count} objects)" for version, count in operators.items())


async def _operators(session: Session) -> dict[str, int] | None:
    try:
        there = await reading.everything(session)
    except (AccessDeniedError, NotFoundError):
        return None
    versions = [
        *(one.status.operatorVersion for one in there.pipelines),
        *(one.status.operatorVersion for one in there.streams),
        *(one.status.operatorVersion for one in there.consumers),
    ]
    return dict(sorted(Counter(version for version in versions if version).items()))
