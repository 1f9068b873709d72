"""Which class carries out which action on which kind of target."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from outbox_operator.api import meta
from outbox_operator.api.v1alpha1.task import ActionName, OutboxTaskSpec
from outbox_operator.controller.tasks.action import Action
from outbox_operator.controller.tasks.approval import Decide
from outbox_operator.controller.tasks.by_broker import ByBroker
from outbox_operator.controller.tasks.consumer_letters import (
    PurgeConsumerLetters,
    ReplayConsumerLetters,
)
from outbox_operator.controller.tasks.diagnose import Diagnose
from outbox_operator.controller.tasks.group_letters import PurgeGroupLetters, ReplayGroupLetters
from outbox_operator.controller.tasks.history import ReplayEvents
from outbox_operator.controller.tasks.outbox_letters import PurgeOutboxLetters, ReplayOutboxLetters
from outbox_operator.controller.tasks.rebase import RebaseOutbox
from outbox_operator.controller.tasks.reset import ResetDurable
from outbox_operator.controller.tasks.verify import VerifyOutbox
from outbox_operator.errors import TaskFailedError
from outbox_operator.reasons import Reason

ACTIONS: Final[Mapping[tuple[ActionName, str], Action]] = {
    ("replayDeadLetters", meta.PIPELINE): ReplayOutboxLetters(),
    ("replayDeadLetters", meta.CONSUMER): ByBroker(
        jetstream=ReplayConsumerLetters(), redis=ReplayGroupLetters()
    ),
    ("purgeDeadLetters", meta.PIPELINE): PurgeOutboxLetters(),
    ("replayHistory", meta.PIPELINE): ReplayEvents(),
    ("rebase", meta.PIPELINE): RebaseOutbox(),
    ("approveMigration", meta.PIPELINE): Decide(),
    ("approveMigration", meta.CONSUMER): Decide(),
    ("approveMigration", meta.STREAM): Decide(),
    ("rejectMigration", meta.PIPELINE): Decide(),
    ("rejectMigration", meta.CONSUMER): Decide(),
    ("rejectMigration", meta.STREAM): Decide(),
    ("diagnose", meta.PIPELINE): Diagnose(),
    ("diagnose", meta.STREAM): Diagnose(),
    ("diagnose", meta.CONSUMER): Diagnose(),
    ("verify", meta.PIPELINE): VerifyOutbox(),
    ("purgeDeadLetters", meta.CONSUMER): ByBroker(
        jetstream=PurgeConsumerLetters(), redis=PurgeGroupLetters()
    ),
    ("resetConsumer", meta.CONSUMER): ResetDurable(),
}


def action_of(spec: OutboxTaskSpec) -> Action:
    """What carries a task out.

    Raises:
        TaskFailedError: This version has nothing that does.
    """
    kind, _ = spec.target
    found = ACTIONS.get((spec.action, kind))
    if found is None:
        raise TaskFailedError(
            f"spec.{spec.action} of an {kind} is not carried out by this version",
            reason=Reason.NOT_SUPPORTED_YET,
        )
    return found
