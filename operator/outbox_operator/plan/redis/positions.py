"""Where a group stands, beside where its readers had brought it. Pure.

A server tells nobody that somebody deleted a group and made another one of its name, or set it
elsewhere, and entries between would go by unhandled without a word. So a reader that never reads
is put into each group of ours, and goes with it; and the last status says how far the group was.
"""

from __future__ import annotations

from outbox_operator.plan.redis.groups import KnownGroup, ObservedGroupOf, made_anew
from outbox_operator.plan.redis.ids import is_before
from outbox_operator.plan.state import Owner
from outbox_operator.reasons import Reason


def moved_by_others(
    seen: ObservedGroupOf, owner: Owner, known: KnownGroup | None
) -> tuple[Reason, str] | None:
    """How somebody else than its readers has set a group, which stays so; None: nobody has.

    Args:
        seen: The group as it is.
        owner: Whose it is.
        known: As it was seen before, at this server; None: it was not.
    """
    found = seen.found
    if found is None or known is None or known.created != seen.created:
        return None
    if made_anew(seen, owner, known) or known.delivered is None:
        return None
    what = f"group {seen.group} of key {seen.key}"
    where = (
        f"stands at {found.delivered}, and stood at {known.delivered} when it was looked at last"
    )
    if is_before(found.delivered, known.delivered):
        return Reason.GROUP_SET_BACK, (
            f"{what} {where}: somebody has set it back, or the server is an older copy of itself. "
            "What was handled in between comes again"
        )
    # The server counts what it gives out, and does not know any more once a group is set; nor
    # where entries were deleted.
    forgot = known.read is not None and found.read is None
    deleted = found.deleted is not None and is_before(known.delivered, found.deleted)
    if forgot and not deleted and is_before(known.delivered, found.delivered):
        return Reason.GROUP_SET_FORWARD, (
            f"{what} {where}: somebody has set it forward, and what is in between is not handled. "
            f"XGROUP SETID {seen.key} {seen.group} {known.delivered} has it handled"
        )
    return None
