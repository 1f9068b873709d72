"""Steps are carried out in order, up to the first that is refused or fails."""

from __future__ import annotations

from typing import Any

import pytest

from outbox_operator.adapters.execute import execute
from outbox_operator.errors import ConflictError, NatsError
from outbox_operator.plan.steps import Change, Step, drifts, failure

Config = dict[str, Any]


def step(change: Change, name: str, **more: Any) -> Step[Config]:
    wanted = {"name": name} if change in (Change.CREATED, Change.PATCHED) else {}
    return Step(what=name, change=change, wanted=wanted, **more)


class Server:
    """Keeps what was written; refuses names that begin with `bad`."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, str]] = []

    async def create(self, config: Config) -> Config:
        return self._write("create", config)

    async def patch(self, config: Config) -> Config:
        return self._write("patch", config)

    async def delete(self, found: Config) -> None:
        self.calls.append(("delete", found["name"]))

    def _write(self, verb: str, config: Config) -> Config:
        self.calls.append((verb, config["name"]))
        if config["name"].startswith("bad"):
            raise NatsError("away")
        return {**config, "written": True}


@pytest.mark.parametrize(
    ("steps", "calls", "changes"),
    [
        ([step(Change.NOOP, "a"), step(Change.FROZEN, "b")], [], [Change.NOOP, Change.FROZEN]),
        ([step(Change.CREATED, "a"), step(Change.PATCHED, "b"),
          step(Change.DELETED, "c", found={"name": "c"})],
         [("create", "a"), ("patch", "b"), ("delete", "c")],
         [Change.CREATED, Change.PATCHED, Change.DELETED]),
        ([step(Change.CREATED, "a"), step(Change.PATCHED, "bad"), step(Change.CREATED, "c")],
         [("create", "a"), ("patch", "bad")], [Change.CREATED, Change.NOOP]),
        ([step(Change.NOOP, "a", refused=ConflictError("theirs")), step(Change.CREATED, "b")],
         [], [Change.NOOP]),
    ],
)  # fmt: skip
async def test_what_is_done(
    steps: list[Step[Config]], calls: list[tuple[str, str]], changes: list[Change]
) -> None:
    server = Server()
    applied = await execute(steps, create=server.create, patch=server.patch, delete=server.delete)
    assert server.calls == calls
    assert [one.change for one in applied] == changes


async def test_what_is_known_afterwards() -> None:
    server = Server()
    theirs = ConflictError("theirs")
    there = {"name": "c"}
    written, broken = await execute(
        [step(Change.CREATED, "a", drift="a was gone"), step(Change.PATCHED, "bad", found=there,
         drift="bad was changed")],
        create=server.create, patch=server.patch,
    )  # fmt: skip
    assert written.now == {"name": "a", "written": True}
    assert broken.now is None  # nobody knows
    assert drifts([written, broken]) == ("a was gone",)  # the other one still is
    assert isinstance(failure([written, broken]), NatsError)
    (refused,) = await execute(
        [step(Change.NOOP, "c", found=there, refused=theirs)],
        create=server.create, patch=server.patch,
    )  # fmt: skip
    assert (refused.now, refused.error) == (there, theirs)
    assert failure([refused]) is None  # what there is is known
