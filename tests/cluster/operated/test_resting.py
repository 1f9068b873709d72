"""What rests: it is looked at without passes, and what befalls it is seen all the same."""

from __future__ import annotations

import json

from support.postgres import execute
from support.world import World


def passes(world: World) -> int:
    """Passes so far over anything in the namespace of the test."""
    lines = (line for line in world.operator.text().splitlines() if '"pass ' in line)
    return sum(f"/{world.namespace}/" in json.loads(line)["object"] for line in lines)


def wait_resting(world: World) -> None:
    """Returns once numbers were read three times in a row without a pass."""
    seen, made = set[float | None](), passes(world)

    def rests() -> bool:
        nonlocal made
        if (now := passes(world)) != made:
            seen.clear()
            made = now
        seen.add(world.exported("pipeline_sample_timestamp_seconds", pipeline="orders"))
        return len(seen - {None}) > 3

    world.wait(rests, "it rests", detail=lambda: f"{made} passes, {seen}\n{world.log()}")


async def test_what_befalls_an_object_that_rests_is_seen(world: World) -> None:
    world.apply(
        world.secret("database", url=world.database), world.pipeline(consumers=[{"name": "all"}])
    )
    world.wait_ready("OutboxPipeline", "orders")
    wait_resting(world)

    def status(*path: str) -> object:
        found = (world.get("OutboxPipeline", "orders") or {})["status"]
        for name in path:
            found = found.get(name)
        return found

    patch = json.dumps({"status": {"outbox": {"backlogRows": 77}}})
    answer = world.kubectl(
        "patch", "obp", "orders", "-n", world.namespace, "--subresource=status",
        "--type=merge", "-p", patch,
    )  # fmt: skip
    assert "patched" in answer
    world.wait(lambda: status("outbox", "backlogRows") == 0, "what somebody wrote is gone")
    wait_resting(world)
    await execute(
        world.database, "INSERT INTO outbox.events (event_type, payload) VALUES ('a', '{}')"
    )
    world.wait(lambda: status("outbox", "backlogRows") == 1, "the row is counted")
