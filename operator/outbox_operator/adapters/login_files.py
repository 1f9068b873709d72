"""What a Secret says, from the files of a pod that mounts it, whatever server it is for."""

from __future__ import annotations

from pathlib import Path

from outbox_operator.errors import CredentialsError


def read_login_file(path: str | Path, whose: str) -> str:
    """The text of a file, without space around it.

    Args:
        path: The file.
        whose: Login it belongs to, for messages: "NATS".

    Raises:
        CredentialsError: It cannot be read, or is no text; names the file.
    """
    try:
        return Path(path).read_bytes().strip().decode()
    except (OSError, UnicodeDecodeError) as error:
        raise CredentialsError(
            f"file {path} for the {whose} login: cannot be read ({type(error).__name__})"
        ) from error
