"""Commands of localkube: what they are called, what they print, how they exit.

Exit codes: 0 done or healthy; 1 failed or unhealthy; 2 wrong usage; 3 (`status`) no such cluster.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence

from localkube import binaries, cluster, health, state, ui
from localkube.errors import LocalkubeError
from localkube.layout import DEFAULT_NAME, Layout, check_name, current_roots


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    arguments = parser().parse_args(argv)
    try:
        code: int = arguments.run(arguments)
    except LocalkubeError as error:
        print(f"localkube: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("localkube: interrupted; the same command goes on from here", file=sys.stderr)
        return 1
    return code


def parser() -> argparse.ArgumentParser:
    """The command line."""
    top = argparse.ArgumentParser(
        prog="localkube", description="A real Kubernetes on this machine, without Docker."
    )
    commands = top.add_subparsers(required=True, metavar="COMMAND")

    named = argparse.ArgumentParser(add_help=False)
    named.add_argument("--name", default=DEFAULT_NAME, type=_name, help="which cluster")

    up = commands.add_parser("up", parents=[named], help="bring the cluster up, or repair it")
    up.add_argument(
        "--control-plane-only",
        action="store_true",
        help="etcd, API server and controller manager on loopback; no pods, no root needed",
    )
    up.add_argument("--json", action="store_true", help="print where it is and its pids")
    up.set_defaults(run=_up)

    down = commands.add_parser("down", parents=[named], help="remove the cluster and all it left")
    down.set_defaults(run=_down)

    status = commands.add_parser("status", parents=[named], help="how the cluster is")
    status.add_argument("--json", action="store_true", help="the same for programs")
    status.set_defaults(run=_status)

    kubeconfig = commands.add_parser(
        "kubeconfig", parents=[named], help="print the path of the kubeconfig"
    )
    kubeconfig.set_defaults(run=_kubeconfig)

    build = commands.add_parser("build", help="build the programs that are not in the cache yet")
    build.add_argument("program", nargs="*", help=f"default: {' '.join(_PREBUILT)}")
    build.set_defaults(run=_build)

    path = commands.add_parser("path", help="print the path of a program (kubectl, helm, nats ...)")
    path.add_argument("program", choices=sorted(binaries.COMPONENTS))
    path.set_defaults(run=_path)
    return top


_PREBUILT = (*binaries.NODE, *binaries.EXTRAS)


def _name(text: str) -> str:
    try:
        return check_name(text)
    except LocalkubeError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _up(arguments: argparse.Namespace) -> int:
    places = current_roots()
    mode = state.CONTROL_PLANE if arguments.control_plane_only else state.NODE
    current = cluster.up(places, arguments.name, mode)
    layout = cluster.cluster_layout(places, arguments.name)
    if arguments.json:
        print(json.dumps(_facts(layout, current), indent=1))
    else:
        ui.say(f"ready: export KUBECONFIG={layout.kubeconfig}")
    return 0


def _facts(layout: Layout, current: state.State) -> dict[str, object]:
    return {
        "name": layout.name,
        "mode": current.mode,
        "server": current.endpoints.server,
        "kubeconfig": str(layout.kubeconfig),
        "logs": str(layout.logs),
        "pids": {name: record.pid for name, record in current.processes.items()},
    }


def _down(arguments: argparse.Namespace) -> int:
    if not cluster.down(current_roots(), arguments.name):
        ui.say(f"there is no cluster {arguments.name}")
    return 0


def _status(arguments: argparse.Namespace) -> int:
    places = current_roots()
    layout = cluster.cluster_layout(places, arguments.name)
    current = state.load(layout)
    if current is None:
        print(f"there is no cluster {arguments.name}", file=sys.stderr)
        return 3
    parts = health.inspect(layout, current)
    ok = all(part.ok for part in parts)
    if arguments.json:
        rows = [{"name": part.name, "ok": part.ok, "detail": part.detail} for part in parts]
        print(json.dumps({**_facts(layout, current), "ok": ok, "parts": rows}, indent=1))
    else:
        print(f"cluster {arguments.name} ({current.mode}): {'ready' if ok else 'NOT READY'}")
        for part in parts:
            print(f"  {'ok ' if part.ok else 'BAD'} {part.name:<24} {part.detail}")
    return 0 if ok else 1


def _kubeconfig(arguments: argparse.Namespace) -> int:
    layout = cluster.cluster_layout(current_roots(), arguments.name)
    if not layout.kubeconfig.exists():
        raise LocalkubeError(f"there is no cluster {arguments.name}: run `localkube up` first")
    print(layout.kubeconfig)
    return 0


def _build(arguments: argparse.Namespace) -> int:
    places = current_roots()
    names = tuple(arguments.program) or _PREBUILT
    for name in names:
        if name not in binaries.COMPONENTS:
            known = ", ".join(sorted(binaries.COMPONENTS))
            raise LocalkubeError(f"no program {name!r}; there are {known}")
    binaries.build(places, names)
    for name in names:
        print(binaries.path(places.cache, name))
    return 0


def _path(arguments: argparse.Namespace) -> int:
    places = current_roots()
    binaries.build(places, (arguments.program,))
    print(binaries.path(places.cache, arguments.program))
    return 0
