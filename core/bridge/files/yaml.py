"""Reading YAML of unknown sources: one small document, without aliases and without a key twice."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bridge.errors import BridgeError
from bridge.files.bounded import read_text

__all__ = ["read_yaml"]


def read_yaml(path: Path) -> Any:
    """Read a YAML file as plain values.

    Aliases are refused, because a few of them make a value that is astronomically large when it is compared or
    printed, and keys that occur twice, because only the last would count.

    Args:
        path: UTF-8 text.

    Returns:
        Mappings, lists and scalars.

    Raises:
        OSError: If the file is missing or cannot be read.
        ValueError: If it is not UTF-8, or not YAML of this form.
        BridgeError: If it is larger than the limit `settings`.
    """
    import yaml

    class Loader(yaml.SafeLoader):
        def compose_node(self, parent: Any, index: Any) -> Any:
            if self.check_event(yaml.AliasEvent):
                raise ValueError(f"it has an alias in line {self.line + 1}")
            return super().compose_node(parent, index)

        def construct_mapping(self, node: Any, deep: bool = False) -> Any:
            found = super().construct_mapping(node, deep=deep)
            if len(found) < len(node.value):
                raise ValueError(f"a key occurs twice in the mapping of line {node.start_mark.line + 1}")
            return found

    try:
        return yaml.load(read_text(path, "settings"), Loader)
    except (BridgeError, OSError):
        raise
    except (yaml.YAMLError, ValueError, RecursionError, TypeError, LookupError, AttributeError) as error:
        # The constructors of dates and numbers raise other errors than YAMLError for damaged scalars.
        raise ValueError(f"it is not YAML of plain values ({' '.join(str(error).split())[:300]})") from error
