"""Checks of the machine and the installation."""

from __future__ import annotations

import os
import platform
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from typing import final

from bridge.errors import BridgeError
from bridge.files import write_bytes
from bridge.models import Placement
from bridge.models.dtype import bfloat16_speed
from bridge.models.resolve import user_aliases
from bridge.models.weights import models_folder
from bridge.pipeline.plan.options import make_options
from bridge.pipeline.plan.runtime import open_runtime
from bridge.pipeline.plan.self_check import load_checked, tried
from bridge.pipeline.plan.single import side_of
from bridge.plugins.discovery import discover
from bridge.store import Store

LOW_DISK = 2 * 2**30


@final
@dataclass(frozen=True)
class Check:
    """The result of one check.

    Attributes:
        name: Name of the check.
        ok: Whether the check passed.
        detail: The finding.
        remedy: The next step if the check failed.
    """

    name: str
    ok: bool
    detail: str
    remedy: str = ""


def examine(model: str = "") -> list[Check]:
    """Run every check; a failing check does not stop the others.

    Args:
        model: If not empty, a model that is also loaded and checked.
    """
    looks: list[Callable[[], Iterator[Check]]] = [_libraries, _devices, _cache, _models, _plugins]
    if model:
        looks.append(partial(_weights, model))
    return [check for look in looks for check in _guarded(look)]


def _guarded(look: Callable[[], Iterator[Check]]) -> Iterator[Check]:
    try:
        yield from look()
    except BridgeError as error:
        yield Check(_called(look), False, error.what, f"{error.cause} {error.remedy}".strip())
    except Exception as error:  # an error in a check is a finding and does not stop the other checks
        yield Check(_called(look), False, f"{type(error).__name__}: {error}")


def _called(look: Callable[[], Iterator[Check]]) -> str:
    return look.args[0] if isinstance(look, partial) else look.__name__.strip("_")


def _weights(reference: str) -> Iterator[Check]:
    runtime = open_runtime()
    model = runtime.resolve(reference)
    options = make_options(src=reference).models
    side = side_of(model, options, runtime)
    load_checked(side, options, runtime)  # always load, to compare earlier outputs with the current files
    yield Check(f"model {model.name}", True, tried(side, options, runtime))


def _libraries() -> Iterator[Check]:
    yield Check("python", True, platform.python_version())
    for name in ("residual-bridge", "torch", "transformers", "nnsight", "safetensors", "accelerate"):
        try:
            yield Check(name, True, version(name))
        except PackageNotFoundError:
            yield Check(name, False, "not installed", f"Run `pip install {name}`.")


def _devices() -> Iterator[Check]:
    import torch

    cuda = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    seen = [
        f"cpu ({torch.get_num_threads()} threads)",
        *cuda,
        *(["mps"] if torch.backends.mps.is_available() else []),
    ]
    yield Check("devices", True, ", ".join(seen))
    placement = Placement()
    speed = f"{bfloat16_speed(placement.torch_device()):.2g} times float32's speed in bfloat16"
    yield Check("dtype auto", True, f"{placement.dtype} on {placement.torch_device()} ({speed})")


def _cache() -> Iterator[Check]:
    root = Store().root
    write_bytes(root / ".doctor", b"")
    (root / ".doctor").unlink()
    free = shutil.disk_usage(root).free
    remedy = "" if free > LOW_DISK else "Free some space, or set BRIDGE_CACHE_DIR to a larger disk."
    yield Check("cache", free > LOW_DISK, f"{root}, {free / 2**30:.1f} GiB free", remedy)


def _models() -> Iterator[Check]:
    folder = models_folder()
    names = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
    yield Check("models put by hand", True, f"{folder}: {', '.join(names) or 'none'}")
    offline = os.environ.get("HF_HUB_OFFLINE", "")
    yield Check("hub", True, "offline (HF_HUB_OFFLINE)" if offline not in ("", "0") else "used when needed")
    yield Check("user aliases", True, ", ".join(user_aliases()) or "none")


def _plugins() -> Iterator[Check]:
    plugins = discover().plugins
    yield Check("plugins", bool(plugins), f"{sum(not plugin.error for plugin in plugins)} of {len(plugins)} work")
    for plugin in plugins:
        if plugin.error:
            yield Check(f"plugin {plugin.name} of {plugin.distribution}", False, plugin.error, plugin.remedy)
