"""Options of every verb that speaks to a cluster: which cluster, which namespace, which form."""

from __future__ import annotations

import argparse
from typing import Final

FORMS: Final = ("text", "json", "yaml", "name")


def configure(
    parser: argparse.ArgumentParser,
    *,
    all_namespaces: bool = False,
    watch: bool = False,
    forms: bool = True,
) -> None:
    """Add the options to a verb.

    Args:
        parser: Of the verb.
        all_namespaces: Whether it can look at all namespaces at once.
        watch: Whether it makes sense to look again and again.
        forms: Whether it has facts to print; else what it prints is a program's.
    """
    where = parser.add_argument_group("where and how")
    place = where.add_mutually_exclusive_group()
    place.add_argument(
        "-n", "--namespace", metavar="NAMESPACE", help="default: that of the kubeconfig's context"
    )
    if all_namespaces:
        place.add_argument(
            "-A", "--all-namespaces", action="store_true", help="look at all namespaces"
        )
    where.add_argument("--context", metavar="NAME", help="of the kubeconfig; default: its current")
    where.add_argument(
        "--kubeconfig", metavar="FILE", help="default: KUBECONFIG, the pod's own, ~/.kube/config"
    )
    if forms:
        where.add_argument(
            "-o", "--output", choices=FORMS, default="text", help="form; default: %(default)s"
        )
    if watch:
        where.add_argument(
            "-w", "--watch", action="store_true", help="look again every 2 s until Ctrl-C"
        )
    parser.set_defaults(laptop=None)
    parser.set_defaults(**{"all_namespaces": False} if not all_namespaces else {})
    parser.set_defaults(**{"watch": False} if not watch else {})
    parser.set_defaults(**{"output": "text"} if not forms else {})


def client(parser: argparse.ArgumentParser, image: str, *, example: str, name_last: bool) -> None:
    """Add the options of a verb that runs a client in a pod for one session.

    Args:
        parser: Of the verb.
        image: Of the client, by default.
        example: Arguments with some that are for the client.
        name_last: Whether the client has no words but names, and people put the last one there.
    """
    pod = parser.add_argument_group("the pod")
    pod.add_argument(
        "--image", default=image, metavar="IMAGE",
        help="with the client, `sh` and `sleep` in it (default: %(default)s)",
    )  # fmt: skip
    pod.add_argument(
        "--lifetime", type=duration, default=3600.0, metavar="SECONDS",
        help="the pod ends after that, whatever happens (default: %(default).0f)",
    )  # fmt: skip
    pod.add_argument(
        "--timeout", type=duration, default=120.0, metavar="SECONDS",
        help="longest wait until it runs (default: %(default).0f)",
    )  # fmt: skip
    configure(parser, forms=False)
    parser.set_defaults(passed_on=[], name_last=name_last)
    parser.allow_abbrev = False  # the client may have an option of that name
    parser.epilog = f"What is for the client stands behind --: {parser.prog} {example}"


def waiting(parser: argparse.ArgumentParser, seconds: int) -> None:
    """Add the options of a verb that waits until what it asked for has happened.

    Args:
        parser: Of the verb.
        seconds: How long it waits by default.
    """
    wait = parser.add_argument_group("waiting")
    wait.add_argument(
        "--no-wait", action="store_true", help="ask for it, and do not wait until it is so"
    )
    wait.add_argument(
        "--timeout", type=duration, default=float(seconds), metavar="SECONDS",
        help="longest wait; exit code 1 then (default: %(default)g)",
    )  # fmt: skip


def task(parser: argparse.ArgumentParser, *, paced: bool = True) -> None:
    """Add the options of a verb that has the operator do something, by an OutboxTask.

    Args:
        parser: Of the verb.
        paced: Whether it is about events, whose pace can be limited.
    """
    order = parser.add_argument_group("the task")
    order.add_argument(
        "--dry-run", action="store_true", help="count what would be done, and change nothing"
    )
    if paced:
        order.add_argument(
            "--rate", type=_rate, metavar="EVENTS", help="at most so many events a second"
        )
    parser.set_defaults(rate=None)
    _kept(order)
    waiting(parser, 3600)


def look(parser: argparse.ArgumentParser) -> None:
    """Add the options of a verb that has the operator look at something, by an OutboxTask."""
    _kept(parser.add_argument_group("the task"))
    parser.set_defaults(dry_run=False, rate=None)
    waiting(parser, 3600)


def _kept(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--keep", type=duration, default=604_800.0, metavar="SECONDS",
        help="the task is deleted so long after its end, a minute at least (default: "
        "%(default).0f, a week)",
    )  # fmt: skip


def confirmation(parser: argparse.ArgumentParser) -> None:
    """Add the option of a verb that asks before it does something; see `Session.confirm`."""
    parser.add_argument("--yes", action="store_true", help="do not ask")


def number(text: str) -> int:
    """A positive number. For `argparse`."""
    if not text.isdecimal() or not 0 < int(text) < 2**63:
        raise argparse.ArgumentTypeError(f"wanted a number from 1 on, found {text!r}")
    return int(text)


def positions(text: str) -> tuple[int, int]:
    """A position, or the first and the last of some. For `argparse`."""
    first, several, last = text.partition("-")
    found = number(first), number(last if several else first)
    if found[0] > found[1]:
        raise argparse.ArgumentTypeError(f"wanted the lower position first, found {text!r}")
    return found


def _rate(text: str) -> int:
    if not text.isdecimal() or not 0 < int(text) <= 100_000:
        raise argparse.ArgumentTypeError(f"wanted a number from 1 to 100000, found {text!r}")
    return int(text)


def duration(text: str) -> float:
    """A length of time. For `argparse`."""
    try:
        found = float(text.removesuffix("s"))
    except ValueError:
        found = -1.0
    if not 0 < found < 2**31:
        raise argparse.ArgumentTypeError(f"wanted a number of seconds, found {text!r}")
    return found


def looking(parser: argparse.ArgumentParser) -> None:
    """How long to wait for the operator's look from inside, which several verbs ask for."""
    parser.add_argument(
        "--timeout", type=duration, default=60.0, metavar="SECONDS",
        help="longest wait for the operator's look at a pipeline (default: %(default)g)",
    )  # fmt: skip
