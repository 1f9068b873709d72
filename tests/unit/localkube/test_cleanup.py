"""What `down` removes is found exactly, and nothing beside it."""

from __future__ import annotations

from pathlib import Path

from localkube import cgroups, mounts

MOUNTS = r"""/dev/vda / ext4 rw 0 0
cgroup /sys/fs/cgroup/memory cgroup rw,memory 0 0
cgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0
overlay /state/demo/containerd/state/rootfs overlay rw 0 0
tmpfs /state/demo/kubelet/pods/1/volumes/a\040b tmpfs rw 0 0
nsfs /state/demo/containerd/state/netns/cni-1 nsfs rw 0 0
tmpfs /state/demo2/kubelet tmpfs rw 0 0
tmpfs /state/demo tmpfs rw 0 0
"""


def test_mounts_below_a_folder_the_deepest_first() -> None:
    assert mounts.below(MOUNTS, Path("/state/demo")) == [
        "/state/demo/kubelet/pods/1/volumes/a b",
        "/state/demo/containerd/state/netns/cni-1",
        "/state/demo/containerd/state/rootfs",
        "/state/demo",
    ]


def test_cgroup_hierarchies_of_both_versions() -> None:
    assert cgroups.hierarchies(MOUNTS) == [
        Path("/sys/fs/cgroup/memory"),
        Path("/sys/fs/cgroup/unified"),
    ]
