"""The trigger that wakes a sleeping relay: made when it is wanted, removed when it is not. Pure.

One statement-level trigger on the table: a transaction of many rows pays once per statement. It is
a courtesy of writers, so nothing that it does may make their transaction fail: who is not notified
is late, by a poll, and no more.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from outbox_operator.plan.postgres.schema import literal, qualify
from outbox_operator.plan.postgres.state import DesiredDatabase, ObservedDatabase, Statement
from outbox_operator.plan.postgres.tables import missing
from outbox_operator.wire import tables
from outbox_operator.wire.advisory_locks import sleep_lock
from outbox_operator.wire.wakeup import wakeup_channel

TRIGGER: Final = "events_wakeup"
FUNCTION: Final = "wake_relay"

_FULL: Final = 0.5
"""Of the queue of notifications. A commit that finds it full fails, whoever holds it up."""
# Names with their schema: what the path of the caller finds first is the caller's business.
_BODY: Final = """
BEGIN
  -- A transaction that has notified cannot be prepared, and nobody knows which one shall be; relays
  -- do not sleep on such a server.
  IF pg_catalog.current_setting('max_prepared_transactions') OPERATOR(pg_catalog.<>) '0' THEN
    RETURN NULL;
  END IF;
  FOR shard IN 0..{last} LOOP
    IF NOT pg_catalog.pg_try_advisory_xact_lock_shared({lock} OPERATOR(pg_catalog.|) shard)
        AND pg_catalog.pg_notification_queue_usage() OPERATOR(pg_catalog.<) {full} THEN
      PERFORM pg_catalog.pg_notify({channel}, shard::pg_catalog.text);
    END IF;
  END LOOP;
  RETURN NULL;
EXCEPTION WHEN OTHERS THEN
  RETURN NULL;
END
"""


def wakeup_body(desired: DesiredDatabase) -> str:
    """Body of the trigger's function."""
    return _BODY.format(
        last=desired.shards - 1,
        lock=f"({sleep_lock(desired.schema, 0)})::pg_catalog.int8",
        full=f"{_FULL}::pg_catalog.float8",
        channel=literal(wakeup_channel(desired.schema)),
    )


def wakeup_statements(
    desired: DesiredDatabase, observed: ObservedDatabase, managed: bool
) -> Iterator[Statement]:
    """What makes the trigger as wanted."""
    function = qualify(desired.schema, FUNCTION)
    events = qualify(desired.schema, tables.EVENTS)
    if not desired.wakeup:
        if observed.wakeup_trigger is not None:
            yield Statement(
                sql=f"DROP TRIGGER {TRIGGER} ON {events}", reason=f"drop trigger {TRIGGER}"
            )
        if observed.wakeup_source is not None:
            yield Statement(sql=f"DROP FUNCTION {function}()", reason=f"drop function {FUNCTION}")
        return
    if observed.wakeup_source != wakeup_body(desired):
        yield Statement(
            sql=f"CREATE OR REPLACE FUNCTION {function}() RETURNS trigger LANGUAGE plpgsql AS "
            f"$wake${wakeup_body(desired)}$wake$",
            reason=f"function {FUNCTION} has another body"
            if observed.wakeup_source is not None
            else f"create function {FUNCTION}",
        )
    if observed.wakeup_trigger is None:
        yield Statement(
            sql=f"CREATE TRIGGER {TRIGGER} AFTER INSERT ON {events} "
            f"FOR EACH STATEMENT EXECUTE FUNCTION {function}()",
            reason=missing("trigger", TRIGGER, managed=False),
        )
    elif not observed.wakeup_trigger:
        yield Statement(
            sql=f"ALTER TABLE {events} ENABLE TRIGGER {TRIGGER}",
            reason=f"trigger {TRIGGER} was disabled",
            drift=managed,
        )
