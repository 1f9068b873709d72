"""Commands of localkube: what they are called, what they print, how they exit.

Exit codes: 0 done or healthy; 1 failed or unhealthy; 2 wrong usage; 3 (`status`) no such cluster.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from localkube import binaries, caches, cluster, engines, images, kind, prereqs, state, ui
from localkube.errors import LocalkubeError
from localkube.layout import DEFAULT_NAME, check_name, command, current_roots, roots
from localkube.processes import is_alive

_PREBUILT = (*binaries.NODE, *binaries.EXTRAS)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    arguments = parser().parse_args(argv)
    try:
        code: int = arguments.run(arguments)
    except (LocalkubeError, subprocess.TimeoutExpired) as error:
        print(f"localkube: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        if error.filename is None:
            raise
        advice = "LOCALKUBE_STATE and LOCALKUBE_CACHE choose other folders"
        print(f"localkube: {error.filename}: {error.strerror}; {advice}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("localkube: interrupted; the same command goes on from here", file=sys.stderr)
        return 130
    return code


def parser() -> argparse.ArgumentParser:
    """The command line."""
    top = argparse.ArgumentParser(
        prog="localkube",
        description="A real Kubernetes on this machine: a node of its own, or kind with Docker.",
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
    up.add_argument(
        "--recreate", action="store_true", help="remove what is there first, with all objects"
    )
    up.add_argument("--json", action="store_true", help="print where it is and its pids")
    up.set_defaults(run=_up)

    down = commands.add_parser("down", parents=[named], help="remove the cluster and all it left")
    down.set_defaults(run=_down)

    listing = commands.add_parser("list", help="the clusters of this user, one a line")
    listing.set_defaults(run=_list)

    cache = commands.add_parser("cache", help="what is kept to be used again, and how much")
    cache.add_argument("--clear", action="store_true", help="remove it; no cluster may run")
    cache.set_defaults(run=_cache)

    status = commands.add_parser("status", parents=[named], help="how the cluster is")
    status.add_argument("--json", action="store_true", help="the same for programs")
    status.set_defaults(run=_status)

    kubeconfig = commands.add_parser(
        "kubeconfig", parents=[named], help="print the path of the kubeconfig"
    )
    kubeconfig.set_defaults(run=_kubeconfig)

    load = commands.add_parser("load-image", parents=[named], help="load images into the cluster")
    load.add_argument("image", nargs="+", help="an archive, or the name of a built image")
    load.set_defaults(run=_load_image)

    all_images = commands.add_parser(
        "build-images", parents=[named], help="build the project's images that changed"
    )
    all_images.add_argument("--load", action="store_true", help="load them into the cluster")
    all_images.add_argument(
        "--also", action="append", default=[], choices=[one.key for one in images.ON_REQUEST],
        help="one that few need; may be repeated",
    )  # fmt: skip
    all_images.set_defaults(run=_build_images)

    one = commands.add_parser("build-image", parents=[named], help="build any Dockerfile")
    one.add_argument("--tag", required=True, help="name of the image")
    one.add_argument("--file", type=Path, help="default: Dockerfile in the context")
    one.add_argument("--build-arg", action="append", default=[], type=_build_arg, metavar="K=V")
    one.add_argument("--load", action="store_true", help="load it into the cluster")
    one.add_argument("context", type=Path)
    one.set_defaults(run=_build_image)

    build = commands.add_parser("build", help="build the programs that are not in the cache yet")
    build.add_argument("program", nargs="*", help=f"default: {' '.join(_PREBUILT)}")
    build.set_defaults(run=_build)

    path = commands.add_parser("path", help="print the path of a program (kubectl, helm, nats ...)")
    path.add_argument("program", choices=sorted(binaries.COMPONENTS))
    path.set_defaults(run=_path)

    needed = commands.add_parser("prereqs", help="install what the machine lacks, or say what")
    needed.add_argument("--check", action="store_true", help="install nothing")
    needed.add_argument(
        "--possible", action="store_true", help="leave out, and say, what this user cannot have"
    )
    needed.add_argument(
        "purpose", nargs="*", help=f"default: what this machine needs of {prereqs.PURPOSES}"
    )
    needed.set_defaults(run=_prereqs)
    return top


def _name(text: str) -> str:
    try:
        return check_name(text)
    except LocalkubeError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _build_arg(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise argparse.ArgumentTypeError(f"wanted NAME=VALUE, found {text!r}")
    return name, value


def _up(arguments: argparse.Namespace) -> int:
    places = current_roots()
    if arguments.control_plane_only:
        prereqs.require((prereqs.CONTROL_PLANE,))
        cluster.up(places, arguments.name, state.CONTROL_PLANE, recreate=arguments.recreate)
        engine: engines.Engine = engines.NodeEngine(places)
    else:
        engine = engines.choose(places, arguments.name)
        engine.check()
        engine.up(arguments.name, recreate=arguments.recreate)
    if arguments.json:
        print(json.dumps(_facts(engine, arguments.name), indent=1))
    else:
        ui.say(f"ready: export KUBECONFIG={shlex.quote(str(engine.kubeconfig(arguments.name)))}")
    return 0


def _facts(engine: engines.Engine, name: str) -> dict[str, object]:
    """What programs want to know about a cluster; pids only of one that runs on this machine."""
    layout = cluster.cluster_layout(current_roots(), name)
    current = state.load(layout)
    facts: dict[str, object] = {"name": name, "kubeconfig": str(engine.kubeconfig(name))}
    if current is not None:
        facts["mode"] = current.mode
        facts["server"] = current.endpoints.server
        facts["logs"] = str(layout.logs)
        facts["pids"] = {part: record.pid for part, record in current.processes.items()}
    return facts


def _down(arguments: argparse.Namespace) -> int:
    if not engines.choose(current_roots(), arguments.name).down(arguments.name):
        ui.say(f"there is no cluster {arguments.name}")
    return 0


def _status(arguments: argparse.Namespace) -> int:
    engine = engines.choose(current_roots(), arguments.name)
    parts = engine.inspect(arguments.name)
    if parts is None:
        print(f"there is no cluster {arguments.name}{_elsewhere(arguments.name)}", file=sys.stderr)
        return 3
    ok = all(part.ok for part in parts)
    if arguments.json:
        rows = [{"name": part.name, "ok": part.ok, "detail": part.detail} for part in parts]
        print(json.dumps({**_facts(engine, arguments.name), "ok": ok, "parts": rows}, indent=1))
    else:
        print(f"cluster {arguments.name}: {'ready' if ok else 'NOT READY'}")
        for part in parts:
            print(f"  {'ok ' if part.ok else 'BAD'} {part.name:<24} {part.detail}")
    return 0 if ok else 1


def _elsewhere(name: str) -> str:
    """Where there is a cluster of that name, or what there is instead."""
    places = current_roots()
    machine = cluster.cluster_layout(roots({}, uid=0, home=Path("/root")), name)
    if os.geteuid() != 0 and machine.root.exists():
        return f"; root has one: sudo {command('status', name)}"
    others = [layout.name for layout, _ in state.load_all(places.state / "clusters")]
    return f"; there are: {', '.join(others)}" if others else ""


def _list(arguments: argparse.Namespace) -> int:
    for layout, current in state.load_all(current_roots().state / "clusters"):
        mode = "?" if current is None else current.mode
        running = current is not None and any(map(is_alive, current.processes.values()))
        print(f"{layout.name:<40} {mode:<13} {'runs' if running else 'stopped'}")
    return 0


def _cache(arguments: argparse.Namespace) -> int:
    places = current_roots()
    if arguments.clear:
        running = [layout.name for layout, _ in state.load_all(places.state / "clusters")]
        if running:
            raise LocalkubeError(f"clusters use it: {', '.join(running)}; remove them first")
        caches.clear(places)
    for what, folder, size in caches.sizes(places):
        print(f"{size / 2**30:6.1f} GiB  {what:<28} {folder}")
    return 0


def _kubeconfig(arguments: argparse.Namespace) -> int:
    engine = engines.choose(current_roots(), arguments.name)
    print(engines.existing_kubeconfig(engine, arguments.name))
    return 0


def _load_image(arguments: argparse.Namespace) -> int:
    engines.choose(current_roots(), arguments.name).load(arguments.name, arguments.image)
    return 0


def _build_images(arguments: argparse.Namespace) -> int:
    engine = engines.choose(current_roots(), arguments.name)
    names = engine.build_all(arguments.also)
    if arguments.load:
        engine.load_project(arguments.name, names)
    print(json.dumps(names, indent=1))
    return 0


def _build_image(arguments: argparse.Namespace) -> int:
    engine = engines.choose(current_roots(), arguments.name)
    context = arguments.context.absolute()
    dockerfile = arguments.file.absolute() if arguments.file else context / "Dockerfile"
    engine.build_one(arguments.tag, dockerfile, context, dict(arguments.build_arg))
    if arguments.load:
        engine.load(arguments.name, [arguments.tag])
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


def _prereqs(arguments: argparse.Namespace) -> int:
    purposes = tuple(arguments.purpose)
    for purpose in purposes:
        if purpose not in prereqs.PURPOSES:
            raise LocalkubeError(f"no purpose {purpose!r}; there are {', '.join(prereqs.PURPOSES)}")
    if not purposes:
        docker = kind.docker_answers()
        purposes = (prereqs.CONTROL_PLANE,) if docker else prereqs.PURPOSES[:3]
    if arguments.possible and os.geteuid() != 0 and prereqs.NODE in purposes:
        purposes = tuple(one for one in purposes if one not in (prereqs.NODE, prereqs.IMAGES))
        ui.say(f"left out is what runs pods, for which this machine lacks {prereqs.ROOT}")
    if arguments.check:
        lacking = prereqs.missing(purposes)
        if lacking:
            ui.say(prereqs.describe(lacking))
            return 1
    else:
        programs = binaries.NODE if prereqs.NODE in purposes else ()
        with binaries.downloading(current_roots().cache, programs):
            prereqs.install(purposes)
    ui.say(f"this machine has all that is needed for: {', '.join(purposes)}")
    return 0
