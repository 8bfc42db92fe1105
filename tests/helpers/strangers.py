"""The packages in `examples/`, as strangers would ship them: what each registers, and how the command shows its work.

To add one, write a function that drives it through the command and looks at what comes back, and a line in `STRANGERS`.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file, save_file

EXAMPLES = Path(__file__).parents[2] / "examples"


@dataclass(frozen=True)
class Machine:
    """A virtual environment with every example installed from its wheel, which sees this one's packages otherwise.

    Attributes:
        env: The environment.
        sources: Copies of the examples' sources, a folder each.
    """

    env: Path
    sources: Path

    def python(self, *arguments: object, cwd: Path | None = None) -> str:
        """Run Python there, and return what it prints."""
        environ = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        command = [str(self.env / "bin" / "python"), *map(str, arguments)]
        done = subprocess.run(command, cwd=cwd or self.env, env=environ, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def bridge(self, *arguments: object) -> Any:
        """Run the command there with `--json`, and return the document."""
        return json.loads(self.python(Path(sys.executable).with_name("bridge"), *arguments, "--json"))


@dataclass(frozen=True)
class Bench:
    """What a package is driven with.

    Attributes:
        machine: Where it is installed.
        models: Tiny checkpoints of the first-party families, by name.
        corpus: Options that name a small corpus and float32.
        folder: An empty folder.
    """

    machine: Machine
    models: Mapping[str, Sequence[Path]]
    corpus: Sequence[str]
    folder: Path

    def run(self, src: object, dst: object, *options: object) -> dict[str, dict[str, float]]:
        """`bridge run` between block 1 of two folders; return the values by metric and arm, and leave `folder/out`."""
        pair = ("--src", f"{src}@1", "--dst", f"{dst}@1")
        done = self.machine.bridge("run", *pair, *self.corpus, "--out", self.folder / "out", *options)
        values: dict[str, dict[str, float]] = {}
        for metric in done["metrics"]:
            values.setdefault(metric["name"], {})[metric["arm"]] = metric["value"]
        return values

    def tiny(self, family: str) -> Path:
        """Have an installed family write its tiny checkpoints, and return the first."""
        write = (
            "import pathlib, sys; from bridge.plugins import discover;"
            "print(discover().models[sys.argv[1]].write_tiny_checkpoints(pathlib.Path(sys.argv[2]))[0])"
        )
        return Path(self.machine.python("-c", write, family, self.folder).strip())


Drive = Callable[[Bench], None]


@dataclass(frozen=True)
class Stranger:
    """What one package registers.

    Attributes:
        kind: One of `bridge.plugins.KINDS`.
        name: That it registers.
        drive: Uses it through the command, and asserts what comes back.
    """

    kind: str
    name: str
    drive: Drive


def beats_its_controls(values: Mapping[str, Mapping[str, float]]) -> None:
    """Require a mapped arm that finds more partners than the same map fitted on mispaired rows."""
    retrieval = values["retrieval@1"]
    assert retrieval["mapped"] > retrieval["mispaired"], retrieval


def a_map(text: str) -> Drive:
    """Between two first-party families, by `--map`; then directions go through the bridge that was written."""

    def drive(runtime: Bench) -> None:
        beats_its_controls(runtime.run(runtime.models["llama"][0], runtime.models["gemma"][0], "--map", text))
        rows, moved = runtime.folder / "rows.safetensors", runtime.folder / "moved.safetensors"
        save_file({"rows": np.eye(3, 32, dtype=np.float32)}, rows)
        runtime.machine.bridge("transfer", "directions", runtime.folder / "out", rows, "--out", moved)
        (found,) = load_file(moved).values()
        assert found.shape == (3, 40)
        assert np.abs(found).max(1).min() > 0

    return drive


def a_family(name: str, *options: object) -> Drive:
    """From its own tiny checkpoint to a first-party family's."""

    def drive(runtime: Bench) -> None:
        beats_its_controls(runtime.run(runtime.tiny(name), runtime.models["llama"][0], *options))

    return drive


def a_chat_model(runtime: Bench) -> None:
    """A model's own activations are explained by what answers at an endpoint: the package's own stand-in for one."""
    path = runtime.machine.sources / "bridge-openai-verbalizer" / "tests" / "stand_in.py"
    spec = importlib.util.spec_from_file_location("stand_in", path)
    assert spec and spec.loader
    stand_in = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(stand_in)
    model = f"{runtime.models['gpt2'][0]}@1"
    with stand_in.running() as server:
        texts = ("--text", "Paris is in France", "--every", "3", "--verbalizer", f"openai_chat:endpoint={server.url}")
        done = runtime.machine.bridge("explain", "--src", model, "--via", model, *runtime.corpus, *texts)
    said = [reading["explanation"] for reading in done["readings"]]
    assert said
    assert all(text.startswith("about ") for text in said), said
    assert 1 <= len(server.asked) <= len(said)


def a_plot(runtime: Bench) -> None:
    """Every run has its numbers and its plot; where the package is missing, the page says so and has the rest."""
    from bridge.report.html import write_report

    values = runtime.run(runtime.models["llama"][0], runtime.models["gemma"][0])
    for name in ("ev_leading", "ev_middle", "ev_tail"):
        assert set(values[name]) == {"mapped", "mispaired", "random_map"}
    drawn, without = runtime.folder / "out" / "report.html", runtime.folder / "without.html"
    label = 'aria-label="Where along the spectrum the map works. mapped '
    assert label in drawn.read_text(encoding="utf-8")
    write_report([runtime.folder / "out"], without)
    page = without.read_text(encoding="utf-8")
    assert label not in page
    assert "The plot of the scorer spectrum is left out: the scorer is not installed." in page
    assert "ev_tail" in page


def a_dictionary(runtime: Bench) -> None:
    """Chosen decoder rows of a file that core does not know go through a bridge."""
    write = """
import sys, torch
weight = torch.randn(50, 32)
activation = {"activation": "TopK", "activation_state_dict": {"k": 4, "postact_fn": "ReLU"}}
names = {"pre_bias": torch.zeros(32), "latent_bias": torch.zeros(50)}
torch.save({"encoder.weight": weight, "decoder.weight": weight.T.clone(), **names, **activation}, sys.argv[1])
"""
    file, moved = runtime.folder / "6.pt", runtime.folder / "moved.safetensors"
    runtime.machine.python("-c", write, file)
    runtime.run(runtime.models["llama"][0], runtime.models["gemma"][0])
    chosen = ("--dictionary", file, "--features", "3,17,45-47", "--out", moved)
    runtime.machine.bridge("transfer", "directions", runtime.folder / "out", *chosen)
    count = "import sys, safetensors.numpy as s; print([a.shape for a in s.load_file(sys.argv[1]).values()])"
    assert runtime.machine.python("-c", count, moved).strip() == "[(5, 40)]"


STRANGERS = {
    "bridge-encoder": Stranger("models", "encoder", a_family("encoder")),
    "bridge-kernel-map": Stranger("maps", "kernel", a_map("kernel:landmarks=64")),
    "bridge-mlp-map": Stranger("maps", "mlp", a_map("mlp:hidden=32,epochs=3")),
    "bridge-openai-verbalizer": Stranger("verbalizers", "openai_chat", a_chat_model),
    "bridge-recurrent": Stranger("models", "recurrent", a_family("recurrent", "--max-tokens", 192)),  # bytes
    "bridge-scorer-with-plot": Stranger("scorers", "spectrum", a_plot),
    "bridge-torch-sae": Stranger("dictionary_formats", "openai_sae", a_dictionary),
    "bridge-whitened-procrustes": Stranger("maps", "whitened_procrustes", a_map("whitened_procrustes:floor=1e-5")),
}
"""By distribution, which is also the folder's name."""


def install(folder: Path) -> Machine:
    """Build every example into a wheel, and install the wheels into a new environment."""
    machine = Machine(folder / "env", folder / "sources")
    unwanted = shutil.ignore_patterns("__pycache__", ".*_cache")
    sources = [shutil.copytree(EXAMPLES / name, machine.sources / name, ignore=unwanted) for name in STRANGERS]
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", machine.env], check=True)
    (packages,) = machine.env.glob("lib/python*/site-packages")
    # Editable installs of this environment are .pth files, which only addsitedir reads.
    (packages / "host.pth").write_text(f"import site; site.addsitedir({sysconfig.get_path('purelib')!r})\n")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    wheels = folder / "wheels"
    build = ["wheel", "--no-deps", "--no-build-isolation", "--no-index", "--wheel-dir", wheels, *sources]
    subprocess.run([*pip, *build], check=True)
    there = ["--python", machine.env / "bin" / "python", "install", "--no-deps", "--no-index"]
    subprocess.run([*pip, *there, *sorted(wheels.glob("*.whl"))], check=True)
    return machine
