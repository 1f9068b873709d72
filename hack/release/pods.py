"""Which images the pods of a cluster run."""

from __future__ import annotations

import json

from demo.kubectl import Kubectl
from localkube import processes

from release.stamp import ReleaseError


def wait_for_image(kubectl: Kubectl, namespace: str, selector: str, wanted: str) -> None:
    """Wait until all pods that there are run an image; without a name: until there are none.

    Raises:
        ReleaseError: they still run another one after five minutes.
    """

    def only_it() -> bool:
        return images_of(kubectl, namespace, selector) == ({wanted} if wanted else set())

    if not processes.wait_until(only_it, 300, interval=1):
        found = images_of(kubectl, namespace, selector)
        raise ReleaseError(f"pods {selector} in {namespace}: wanted {wanted}, found {found}")


def images_of(kubectl: Kubectl, namespace: str, selector: str) -> set[str]:
    """Images that pods are of."""
    pods = json.loads(kubectl("get", "pods", "-n", namespace, "-l", selector, "-o", "json"))
    return {pod["spec"]["containers"][0]["image"] for pod in pods["items"]}
