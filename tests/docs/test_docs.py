"""What the documentation tells people to type exists; what the README does works. test_snippets.py runs the pages."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest

import bridge
from bridge import plugins
from bridge.cli import COMMANDS, main
from bridge.cli import bridge as command_line
from bridge.cli.plugins import KINDS

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(ROOT.glob("docs/**/*.md"))]
COMMAND = r"\s*(bridge (?:.*\\\n)*.*)"
INDENTED = re.compile("^ {4}" + COMMAND, re.MULTILINE)
FENCED = re.compile("^" + COMMAND, re.MULTILINE)
FENCES = re.compile(r"^```\w+\n(.*?)^```", re.DOTALL | re.MULTILINE)
NOT_HERE = re.compile(r"smollm2|gemma3-|pythia-70m|\bmy[-_]|MY-|/|\.\.\.(?!\S)")
"""What the README's examples name and this machine may lack: weights, files of the reader's, a plugin to be written."""


def test_readme_python_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    snippet = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), flags=re.DOTALL)[0]
    names: dict[str, Any] = {}
    rng = np.random.default_rng(0)
    names["x"], names["v"] = rng.normal(size=(2, 5, 128)).astype(np.float32)
    exec(snippet, names)
    assert names["y"].shape == names["w"].shape == (5, 112)
    assert isinstance(names["b"].provenance, dict)
    np.testing.assert_array_equal(names["b"](names["x"]), names["y"])


def test_every_command_and_plugin_is_documented() -> None:
    pages = "".join(page.read_text() for page in PAGES if page.name != "CLI.md")
    for command in COMMANDS:
        assert f"bridge {command}" in pages
    for plugin in plugins.discover().plugins:
        for _, name in plugin.provides:
            assert f"`{name}`" in pages, f"{name} is in no page"


def test_every_environment_variable_is_in_one_table() -> None:
    page = (ROOT / "docs" / "ENVIRONMENT.md").read_text()
    listed = set(re.findall(r"^\| `(BRIDGE_\w+)`", page, re.MULTILINE))
    sources = [file for top in ("core", "plugins", "examples", "tests", "tools") for file in (ROOT / top).rglob("*.py")]
    read = {name for file in sources for name in re.findall(r"[\"'](BRIDGE_[A-Z_]+)[\"']", file.read_text())}
    assert listed == read
    assert "ENVIRONMENT.md" in (ROOT / "README.md").read_text()


def test_public_names_exist() -> None:
    assert tuple(plugins.KINDS) == KINDS, "the command line lists kinds by itself, to start without numpy"
    assert all(callable(getattr(bridge, name)) for name in bridge.__all__)


def commands(lines: Iterable[str]) -> Iterator[list[str]]:
    """Cut commands into words, up to the first `&&`, `|`, `;` or `>`; usage and what is left out (`...`) are not."""
    for line in lines:
        words = shlex.split(line.replace("\\\n", " "), comments=True)
        if not {"...", "[OPTIONS]"} & set(words):
            yield words[1 : min([words.index(end) for end in ("&&", "|", ";", ">") if end in words], default=None)]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_commands_and_options_in_pages_exist(page: Path) -> None:
    text = page.read_text()
    for words in commands([*INDENTED.findall(text), *FENCED.findall("".join(FENCES.findall(text)))]):
        context = click.Context(command_line, info_name="bridge", **command_line.context_settings)
        while isinstance(context.command, click.Group) and words and not words[0].startswith("-"):
            below = context.command.get_command(context, words[0])
            if below is None:
                break
            context, words = click.Context(below, parent=context, info_name=words[0]), words[1:]
        _, left, _ = context.command.make_parser(context).parse_args(list(words))
        assert not left, f"{page.name}: {context.command_path} does not take {left}"


@pytest.mark.docs
def test_commands_of_the_readme_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    lines = INDENTED.findall((ROOT / "README.md").read_text())
    tried = [words for words in commands(lines) if not NOT_HERE.search(" ".join(words))]
    assert tried
    for words in tried:
        with pytest.raises(SystemExit) as ended:
            main(words)
            raise SystemExit(0)
        assert not ended.value.code, words
