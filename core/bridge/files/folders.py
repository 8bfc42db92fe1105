"""The folders of bridge: its cache, and paths as users write them."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from bridge.errors import StoreError

__all__ = ["cache_folder", "expand_user"]


def cache_folder() -> Path:
    """Return `BRIDGE_CACHE_DIR`, or the user's cache folder.

    Raises:
        StoreError: If there is neither.
    """
    import platformdirs

    return user_folder("BRIDGE_CACHE_DIR", platformdirs.user_cache_path)


def user_folder(variable: str, usual: Callable[[str], Path]) -> Path:
    """Return the folder that an environment variable names, or the usual one of this system.

    Args:
        variable: Name of the environment variable.
        usual: Gives the usual folder of an application, as `platformdirs.user_cache_path`.

    Raises:
        StoreError: If there is neither.
    """
    if given := os.environ.get(variable):
        return expand_user(given)
    try:
        return usual("bridge")
    except RuntimeError as error:
        raise StoreError(
            "The user has no home folder.",
            cause="HOME is not set, and the system knows none.",
            remedy=f"Set {variable} to a folder.",
        ) from error


def expand_user(path: str | Path) -> Path:
    """Replace a leading `~` or `~name` by a home folder; where there is none, the path stays as it is.

    `Path.expanduser` raises a RuntimeError there.

    Args:
        path: A path as a user wrote it.

    Returns:
        The path; whether it exists is not looked at.
    """
    return Path(os.path.expanduser(path))  # noqa: PTH111
