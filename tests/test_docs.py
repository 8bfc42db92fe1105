"""What the documentation tells people to type works: the Python of the README, run on tiny stand-ins for its models."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bridge
from bridge import plugins
from bridge.cli import COMMANDS
from bridge.cli.plugins import KINDS

ROOT = Path(__file__).parents[1]


def test_readme_python_runs(
    tiny_models: dict[str, list[Path]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BRIDGE_CONFIG_DIR", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    stand_ins = {"smollm2-135m": tiny_models["llama"][0], "gemma3-270m": tiny_models["gemma"][0]}
    (tmp_path / "aliases.toml").write_text("".join(f'{name} = "{path}"\n' for name, path in stand_ins.items()))
    snippet = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), flags=re.DOTALL)[0]
    snippet = snippet.replace("@19", "@1").replace("@12", "@1").replace('map="ridge"', 'map="ridge", max_documents=120')
    names: dict[str, Any] = {}
    rng = np.random.default_rng(0)
    names["x"], names["v"] = rng.normal(size=(2, 5, 32)).astype(np.float32)
    exec(snippet, names)
    assert names["y"].shape == names["w"].shape == (5, 40)
    assert isinstance(names["b"].provenance, dict)
    np.testing.assert_array_equal(names["b"](names["x"]), names["y"])


def test_every_command_and_plugin_is_documented() -> None:
    pages = "".join(
        path.read_text() for path in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *ROOT.glob("docs/*.md")]
    )
    for command in COMMANDS:
        assert f"bridge {command}" in pages
    for plugin in plugins.discover().plugins:
        for _, name in plugin.provides:
            assert f"`{name}`" in pages, f"{name} is in no page"


def test_public_names_exist() -> None:
    assert tuple(plugins.KINDS) == KINDS, "the command line lists kinds by itself, to start without numpy"
    assert all(callable(getattr(bridge, name)) for name in bridge.__all__)
