"""The project's images: built when their inputs changed, named by a hash of those inputs.

The name changes with the content, so a deployment that is given the name rolls exactly when the
image is another one.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from localkube import binaries, buildah, cluster, node, state, ui
from localkube.buildah import DebianBase, Store
from localkube.errors import LocalkubeError
from localkube.layout import REPOSITORY, Roots, command

_USERS = Path("images/users.json")
_LOADED_AT_ONCE = 2
_PYTHON = ("python3-minimal", "libpython3-stdlib", "ca-certificates")
PYTHON_BASE = DebianBase("python", _PYTHON)
PYTHON_BUILD_BASE = DebianBase("python-build", (*_PYTHON, "python3-pip"))
POSTGRES_BASE = DebianBase(
    "postgres",
    ("postgresql-15",),
    (
        'mkdir -p "$1/etc/postgresql-common"',
        'echo "create_main_cluster = false" > "$1/etc/postgresql-common/createcluster.conf"',
        # The user id of the official image, so that one manifest fits both.
        'echo "postgres:x:999:" >> "$1/etc/group"',
        'echo "postgres:x:999:999::/var/lib/postgresql:/bin/bash" >> "$1/etc/passwd"',
    ),
    # Compiling queries is off without this library, and a third of the image goes with it.
    (
        "/usr/lib/postgresql/15/lib/llvmjit.so",
        "/usr/lib/postgresql/15/lib/bitcode",
        "/usr/lib/*/libLLVM-*",
    ),
)
PROMETHEUS_BASE = DebianBase("prometheus", ("prometheus", "ca-certificates"))
REDIS_BASE = DebianBase("redis", ("redis-server",))


@dataclass(frozen=True)
class ProjectImage:
    """One image of the project.

    Attributes:
        key: what `build-images --json` calls it.
        repository: name without tag.
        dockerfile: path in the repository.
        inputs: files and folders of the repository that decide the content.
        bases: build argument -> Debian base that is passed in it.
    """

    key: str
    repository: str
    dockerfile: str
    inputs: tuple[str, ...]
    bases: tuple[tuple[str, DebianBase], ...] = ()


OPERATOR = ProjectImage(
    "operator",
    "outbox-operator",
    "operator/Dockerfile",
    ("operator", "pyproject.toml", "uv.lock", "README.md", "LICENSE", "hack/uv.txt"),
    (("BASE_IMAGE", PYTHON_BASE), ("BUILD_IMAGE", PYTHON_BUILD_BASE)),
)
POSTGRES = ProjectImage(
    "postgres",
    "outbox-postgres",
    "images/postgres/Dockerfile",
    ("images/postgres",),
    (("BASE_IMAGE", POSTGRES_BASE),),
)
NATS = ProjectImage("nats", "outbox-nats", "images/nats/Dockerfile", ("images/nats",))
PROMETHEUS = ProjectImage(
    "prometheus",
    "outbox-prometheus",
    "images/prometheus/Dockerfile",
    ("images/prometheus",),
    (("BASE_IMAGE", PROMETHEUS_BASE),),
)
REDIS = ProjectImage(
    "redis",
    "outbox-redis",
    "images/redis/Dockerfile",
    ("images/redis",),
    (("BASE_IMAGE", REDIS_BASE),),
)
PROJECT_IMAGES = (OPERATOR, POSTGRES, NATS, PROMETHEUS)
ON_REQUEST = (REDIS,)
"""Those that few need: built for whoever asks for them by their keys."""


def input_files(root: Path, inputs: Iterable[str]) -> list[Path]:
    """Files that decide an image's content, relative to `root`, in a fixed order."""
    found = []
    for name in inputs:
        path = root / name
        candidates = path.rglob("*") if path.is_dir() else [path]
        found += [
            one.relative_to(root)
            for one in candidates
            if one.is_file() and "__pycache__" not in one.parts
        ]
    return sorted(found)


def content_hash(root: Path, files: Iterable[Path], extra: Iterable[str]) -> str:
    """Hash over names, modes and contents of files, and over further texts."""
    digest = hashlib.sha256()
    for file in files:
        content = (root / file).read_bytes()
        executable = (root / file).stat().st_mode & 0o100
        line = f"{file} {executable} {hashlib.sha256(content).hexdigest()}\n"
        digest.update(line.encode())
    for text in extra:
        digest.update(f"{hashlib.sha256(text.encode()).hexdigest()}\n".encode())
    return digest.hexdigest()[:12]


def base_tag(base: DebianBase) -> str:
    """Name of a base image; another package list is another name."""
    key = hashlib.sha256(base.description.encode()).hexdigest()[:12]
    return f"localhost/localkube-base-{base.name}:{key}"


def image_name(image: ProjectImage, root: Path = REPOSITORY) -> str:
    """Name and tag an image has as its inputs are now."""
    extra = [base.description for _, base in image.bases]
    if image is NATS:
        extra.append(binaries.requirement(binaries.NATS_SERVER_PACKAGE))
    key = content_hash(root, input_files(root, image.inputs), extra)
    return f"{image.repository}:dev-{key}"


def build_all(places: Roots, also: Sequence[str] = ()) -> dict[str, str]:
    """Build the project's images that changed; returns key -> name with tag.

    Args:
        places: folders of state and cache.
        also: keys of `ON_REQUEST`.

    Raises:
        LocalkubeError: a build failed.
    """
    wanted = (*PROJECT_IMAGES, *(image for image in ON_REQUEST if image.key in also))
    names = {image.key: image_name(image) for image in wanted}
    with _building(places) as store:
        _note_use(places, names.values())
        changed = [image for image in wanted if not store.exists(names[image.key])]
        # Different bases can be downloaded and unpacked side by side.
        bases = {base for image in changed for _, base in image.bases}
        with ThreadPoolExecutor() as pool:
            list(pool.map(lambda base: buildah.ensure_debian(store, base, base_tag(base)), bases))
        for image in changed:
            name = names[image.key]
            with ui.step(f"image {name}"):
                _build(store, image, name, places)
            store.tag(name, f"{image.repository}:dev")
            _remove_replaced(places, store, name)
    return names


@contextmanager
def _building(places: Roots) -> Iterator[Store]:
    """The store, for as long as nobody else builds in it."""
    with state.locked(places.cache / "images.lock"):
        store = Store(places.cache)
        store.forget_unfinished()
        yield store


def _note_use(places: Roots, names: Iterable[str]) -> None:
    """Note which images this checkout uses now: checkouts share the store."""
    record = places.cache / _USERS
    known = _users(record)
    mine = dict(known.get(str(REPOSITORY), {}))
    mine |= {repository: tag for repository, _, tag in (one.rpartition(":") for one in names)}
    known[str(REPOSITORY)] = mine
    record.parent.mkdir(parents=True, exist_ok=True)
    state.write_atomically(record, json.dumps(known, indent=1, sort_keys=True))


def _users(record: Path) -> dict[str, dict[str, str]]:
    """Checkout -> repository -> the tag it uses; checkouts that are gone use none."""
    try:
        known: dict[str, dict[str, str]] = json.loads(record.read_text())
    except (FileNotFoundError, ValueError):
        return {}
    return {checkout: uses for checkout, uses in known.items() if Path(checkout).exists()}


def replaced_tags(name: str, tags: Iterable[str], used: Iterable[str] = ()) -> list[str]:
    """Tags that an image replaces: earlier contents of it, if its own tag says its content.

    Args:
        name: the image, with its tag.
        tags: what there is of its repository.
        used: tags that any checkout uses.
    """
    _, _, current = name.rpartition(":")
    if not current.startswith("dev-"):
        return []
    kept = {current, *used}
    return [tag for tag in tags if tag.startswith("dev-") and tag not in kept]


def _remove_replaced(places: Roots, store: Store, name: str) -> None:
    """Every replaced image would keep a copy of all our dependencies on the disk."""
    repository, _, _ = name.rpartition(":")
    used = [
        uses[repository] for uses in _users(places.cache / _USERS).values() if repository in uses
    ]
    for tag in replaced_tags(name, store.tags(repository), used):
        store.remove(f"{repository}:{tag}")


def copy_plainly(root: Path, files: Iterable[Path], target: Path) -> None:
    """Copy files so that everybody may read them, whatever mask they were checked out with.

    Args:
        root: folder the files are in.
        files: their paths in it.
        target: a folder; made.
    """
    for file in files:
        copy = target / file
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(root / file, copy)
        copy.chmod(0o755 if (root / file).stat().st_mode & 0o100 else 0o644)
    for folder in (target, *(one for one in target.rglob("*") if one.is_dir())):
        folder.chmod(0o755)


def _build(store: Store, image: ProjectImage, name: str, places: Roots) -> None:
    dockerfile = REPOSITORY / image.dockerfile
    arguments = {argument: base_tag(base) for argument, base in image.bases}
    root = REPOSITORY if image is OPERATOR else dockerfile.parent
    files = input_files(root, image.inputs if image is OPERATOR else ["."])
    with tempfile.TemporaryDirectory(prefix="localkube-") as folder:
        context = Path(folder) / "context"
        copy_plainly(root, files, context)
        if image is NATS:
            shutil.copy(binaries.nats_server(places.cache), context / "nats-server")
        store.build(name, context / dockerfile.relative_to(root), context, arguments)


def build_one(
    places: Roots, tag: str, dockerfile: Path, context: Path, build_args: Mapping[str, str]
) -> None:
    """Build any Dockerfile into the store, for example one on top of the operator's image.

    Raises:
        LocalkubeError: the build failed.
    """
    with (
        _building(places) as store,
        tempfile.TemporaryDirectory(prefix="localkube-") as folder,
        ui.step(f"image {tag}"),
    ):
        _note_use(places, [tag])
        plain = Path(folder) / "context"
        copy_plainly(context, input_files(context, ["."]), plain)
        beside = [Path(dockerfile.name), Path(f"{dockerfile.name}.dockerignore")]
        there = [one for one in beside if (dockerfile.parent / one).exists()]
        copy_plainly(dockerfile.parent, there, plain.with_name("file"))
        store.build(tag, plain.with_name("file") / dockerfile.name, plain, build_args)
        _remove_replaced(places, store, tag)


def load(places: Roots, cluster_name: str, images: Collection[str]) -> None:
    """Load images into a running node: names of the store, or paths of archives.

    An image the node got already is not loaded again.

    Raises:
        LocalkubeError: no such cluster, or no such image.
    """
    layout = cluster.cluster_layout(places, cluster_name)
    current = state.load(layout)
    if current is None or current.mode != state.NODE:
        raise LocalkubeError(
            f"no node named {cluster_name!r} runs: `{command('up', cluster_name)}` starts one"
        )
    present = node.images(layout)
    record = layout.root / "loaded-images.json"
    loaded: dict[str, str] = json.loads(record.read_text()) if record.exists() else {}
    store = Store(places.cache)
    archives = {image for image in images if Path(image).is_file()}
    wanted: dict[str, str] = {}
    for image in images:
        identity = "" if image in archives else store.identity(image)
        if identity is None:
            raise LocalkubeError(
                f"{image}: neither an archive nor an image built with `localkube build-image`"
            )
        full = buildah.full_name(image)
        if image in archives or loaded.get(full) != identity or full not in present:
            wanted[image] = identity

    def take(image: str) -> None:
        if image in archives:
            node.import_image(layout, Path(image))
            return
        with store.exported(image) as tar:
            node.import_image(layout, tar)

    if not wanted:
        return
    # One has a core busy, and the disk every other second.
    with ui.step(f"load {', '.join(wanted)}"), ThreadPoolExecutor(_LOADED_AT_ONCE) as pool:
        for image, _ in zip(wanted, pool.map(take, wanted), strict=True):
            if image not in archives:
                loaded[buildah.full_name(image)] = wanted[image]
                state.write_atomically(record, json.dumps(loaded, indent=1))


def load_project(places: Roots, cluster_name: str, names: Mapping[str, str]) -> None:
    """Load the project's images, also under a fixed name for manifests written by hand.

    Args:
        places: folders of state and cache.
        cluster_name: name of the node.
        names: what `build_all` returned.
    """
    load(places, cluster_name, names.values())
    layout = cluster.cluster_layout(places, cluster_name)
    for image in (*PROJECT_IMAGES, *ON_REQUEST):
        if image.key not in names:
            continue
        fixed = buildah.full_name(f"{image.repository}:dev")
        node.tag_image(layout, buildah.full_name(names[image.key]), fixed)
