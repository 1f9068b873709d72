"""`outbox plan`: what waits for a person's approval, and that approval."""

from __future__ import annotations

import argparse
import re
from typing import Final

from outbox_operator.cli.cluster import options, target

HELP: Final = "show migrations and moves that wait for approval; approve or reject them"
LAPTOP: Final = "`outbox dev` brings tables up to date when it starts, and nobody has to approve"
_WHOSE: Final = "a pipeline, or evc/NAME, evs/NAME of a consumer or stream that moves"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the verb's own verbs."""
    verbs = parser.add_subparsers(dest="plan", metavar="VERB", required=True)
    about = "show what waits, with its statements, and who decided what"
    show = verbs.add_parser("show", help=about, description=about)
    target.configure(show, f"{_WHOSE} (default: all that have something waiting)", needed=False)
    options.configure(show, all_namespaces=True)
    for verb, about in (
        ("approve", "let a plan run that waits"),
        ("reject", "say no to a plan that waits, until it is another one"),
    ):
        one = verbs.add_parser(verb, help=about, description=about)
        target.configure(one, _WHOSE, several=False)
        one.add_argument("hash", type=_hash, metavar="HASH", help="of the plan, as shown")
        if verb == "reject":
            one.add_argument(
                "--reason", default="", metavar="TEXT", help="why, for whoever wrote it"
            )
        options.task(one, paced=False)
        options.configure(one)


def run(args: argparse.Namespace) -> int:
    """Do it; 0 when nothing waits, or once the decision is noted."""
    from outbox_operator.cli.cluster import plan, session

    work = {"show": plan.show, "approve": plan.approve, "reject": plan.reject}[args.plan]
    return session.run(args, work)


def _hash(text: str) -> str:
    if not re.fullmatch(r"[0-9a-f]{8,64}", text):
        raise argparse.ArgumentTypeError(f"wanted the hash of a plan, found {text!r}")
    return text
