"""Who we are towards the API server, and where it is: from a kubeconfig, or the pod's own account.

Called by `adapters.kubernetes.transport` alone. The `kubernetes` library reads the files, runs
credential plugins and refreshes tokens; what it raises over a broken file becomes one error of
ours that names the file.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.request import getproxies

import aiohttp
import yaml
from kubernetes.aio.client.configuration import Configuration
from kubernetes.aio.config import kube_config, load_incluster_config
from kubernetes.aio.config.config_exception import ConfigException
from kubernetes.aio.config.kube_config import KubeConfigLoader, KubeConfigMerger

from outbox_operator.adapters.kubernetes import impersonation, private_files
from outbox_operator.adapters.kubernetes.credential_plugin import CredentialPlugin
from outbox_operator.errors import KubernetesError

kube_config.ExecProvider = CredentialPlugin  # type: ignore[attr-defined]  # the loader's name
kube_config._create_temp_file_with_content = private_files.instead_of(
    kube_config._create_temp_file_with_content
)

IN_CLUSTER: Final = "in-cluster"
"""Stands where the name of a context would, for a pod's own account."""
_USER_CONFIG: Final = "~/.kube/config"
_NAMESPACE_FILE: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
_PLUGIN_SECONDS: Final = 300.0
"""A credential plugin may wait for a person at a browser, but not for ever."""
_BROKEN: Final = (
    ConfigException, OSError, yaml.YAMLError, ValueError, TypeError, AttributeError, KeyError,
)  # fmt: skip
"""What the library raises over a file that is not there, no YAML, or of another shape."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Login:
    """Where the API server is and how to log in.

    Attributes:
        configuration: For the library's client.
        context: Name of the kubeconfig's context, or `IN_CLUSTER`.
        namespace: That the context, or the pod, is in; None: it names none.
        acts_as: User whom the API server takes us for instead; None: we are ourselves.
    """

    configuration: Configuration
    context: str
    namespace: str | None
    acts_as: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """How to reach and log in to the API server; for the other client of this process (kopf)."""

    server: str
    insecure: bool
    ca_path: str | None
    certificate_path: str | None
    private_key_path: str | None
    authorization: str | None
    """Value of the Authorization header, such as `Bearer …`."""

    def __repr__(self) -> str:
        return f"Credentials(server={self.server!r})"


class NoClusterError(KubernetesError):
    """Nothing says which cluster is meant, if any is."""


async def find(kubeconfig: str | None = None, context: str | None = None) -> Login:
    """The login: of a named file, else `KUBECONFIG`, else the pod's, else `~/.kube/config`.

    Args:
        kubeconfig: A file, or several as in `KUBECONFIG`.
        context: Of the kubeconfig; None: its current one.

    Raises:
        NoClusterError: There is none, and none is named.
        KubernetesError: There is none that can be used; the message names the file.
    """
    configuration = Configuration()
    configuration.connection_pool_maxsize = 0  # no limit: each watch keeps a connection
    configuration.client_session_kwargs = _session()
    named = kubeconfig or os.environ.get("KUBECONFIG")
    if not named and context is None and "KUBERNETES_SERVICE_HOST" in os.environ:
        return _of_pod(configuration)
    paths = named or _USER_CONFIG
    try:
        loader = _loader(paths, context, named=bool(named))
        with _complaints() as heard:
            async with asyncio.timeout(_PLUGIN_SECONDS):
                await loader.load_and_set(configuration)  # type: ignore[no-untyped-call]
        if heard:
            raise ConfigException("; ".join(heard))
        if not configuration.host:
            raise ConfigException("its cluster has no `server`")
        acting = _complete(configuration, loader)
        current = loader.current_context
        name, namespace = str(current["name"]), current["context"].get("namespace")
    except TimeoutError as error:
        raise KubernetesError(
            f"kubeconfig {paths}: the credential plugin gave no answer within {_PLUGIN_SECONDS:g} s"
        ) from error
    except _BROKEN as error:
        text = " ".join(str(error).split()) or repr(error)
        if isinstance(error, TypeError | AttributeError | KeyError):
            text = f"it is no complete kubeconfig ({text})"
        raise KubernetesError(
            f"no access to a Kubernetes cluster: kubeconfig {paths}: {text}"
        ) from error
    return Login(
        configuration=configuration,
        context=name,
        namespace=str(namespace) if namespace else None,
        acts_as=acting[0][1] if acting else None,
    )


def _complete(configuration: Configuration, loader: KubeConfigLoader) -> list[tuple[str, str]]:
    """Put in what the library leaves out; the headers of impersonation. Raises ValueError."""
    token = configuration.api_key.get("BearerToken")
    if token is not None:  # a file of one ends with a line break as a rule
        configuration.api_key["BearerToken"] = impersonation.sendable("token", token.strip())
    acting = impersonation.headers_of(loader._user.value if loader._user is not None else {})
    # Of all connections, those of `exec` included.
    configuration.client_session_kwargs = _session(headers=acting, proxy=configuration.proxy)
    return acting


def _session(**more: object) -> dict[str, object]:
    """Arguments of aiohttp's session.

    The library has it read ~/.netrc and look for proxies at each request, in a thread.
    """
    watched = aiohttp.TraceConfig()
    watched.on_request_redirect.append(_refuse)
    return {"trust_env": bool(getproxies()), "trace_configs": [watched], **more}


async def _refuse(_session: object, _context: object, sent: Any) -> None:
    """The API server sends nobody elsewhere, and hands on what a pod answers that it asks for us:
    such as where our login leads to more than the pod may see."""
    sent.response.close()
    raise aiohttp.ClientError("it sends elsewhere, which is not followed")


@contextlib.contextmanager
def _complaints() -> Iterator[list[str]]:
    """What the library says in its log of a credential plugin that failed; it raises nothing."""
    heard: list[str] = []

    class Hearing(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            heard.append(record.getMessage()[:1000])

    logger, hearing = logging.getLogger("kubernetes.aio.config"), Hearing(logging.ERROR)
    logger.addHandler(hearing)
    try:
        yield heard
    finally:
        logger.removeHandler(hearing)


def _loader(paths: str, context: str | None, *, named: bool) -> KubeConfigLoader:
    if not any(Path(path).expanduser().exists() for path in paths.split(os.pathsep) if path):
        if not named:
            raise NoClusterError(
                "no access to a Kubernetes cluster: neither --kubeconfig nor KUBECONFIG names a "
                f"kubeconfig, and there is no {paths}"
            )
        raise KubernetesError(
            f"no access to a Kubernetes cluster: there is no kubeconfig {paths}; set KUBECONFIG "
            "or --kubeconfig, or run in a pod"
        )
    return KubeConfigLoader(  # type: ignore[no-untyped-call]
        config_dict=KubeConfigMerger(paths).config,  # type: ignore[no-untyped-call]
        active_context=context,
        config_base_path=None,
    )


def _of_pod(configuration: Configuration) -> Login:
    try:
        load_incluster_config(client_configuration=configuration)  # type: ignore[no-untyped-call]
    except (ConfigException, OSError) as error:
        raise KubernetesError(
            f"no access to a Kubernetes cluster: {error}; set KUBECONFIG or run in a pod"
        ) from error
    try:
        namespace = _NAMESPACE_FILE.read_text("utf-8").strip()
    except OSError:
        namespace = ""
    return Login(configuration=configuration, context=IN_CLUSTER, namespace=namespace or None)
