"""Packages that bring names: of models of any family, and of corpora."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import bridge_toys.dyck
from small_plugins import Package, bridge, ours_are_whole, plugins

CHECKPOINT = Path(bridge_toys.dyck.__file__).parent / "checkpoints" / "seed3"
NAMES = """
from bridge.hookspecs import hookimpl
from bridge.models import Alias, NamedCorpus

bridge_api = "1.2"

@hookimpl
def register_aliases(register):
"""


def names(*items: str) -> str:
    return NAMES + "".join(f"    register({item})\n" for item in items)


def broken(distribution: str) -> str:
    (plugin,) = [plugin for plugin in plugins() if plugin["distribution"] == distribution]
    assert plugin["health"] == "broken"
    return str(plugin["error"])


def test_a_package_names_a_model_and_a_corpus_which_commands_find(package: Package, tmp_path: Path) -> None:
    words = tmp_path / "words.jsonl"
    words.write_text("".join(json.dumps({"text": "([]{}())" + "()" * n}) + "\n" for n in range(40)))
    alias = f"Alias('mine', {str(CHECKPOINT)!r}, site='1', corpus='my-words')"
    package("brings-names", names(alias, f"NamedCorpus('my-words', {str(words)!r})"))
    code, out, err = bridge("models", "--json")
    assert code == 0, err
    (mine,) = [model for model in json.loads(out)["models"] if model["name"] == "mine"]
    assert (mine["site"], mine["here"], mine["model"]) == ("1", True, str(CHECKPOINT))
    # The family is the one that claims the weights; the corpus is the alias's.
    code, out, err = bridge(
        "run", "--src", "mine", "--dst", "dyck:seed1@1", "--corpus", "my-words", "--dry-run", "--json"
    )
    found = json.loads(out)
    assert (found["models"]["src"]["family"], found["corpus"]["name"]) == ("dyck", "my-words")


@pytest.mark.parametrize("taken", ["qwen", "tiny-qwen"])
def test_a_name_that_is_taken_is_refused_with_both_packages(taken: str, package: Package) -> None:
    package("brings-it-again", names(f"Alias({taken!r}, './somewhere')"))
    # Whichever comes second is the broken one.
    (error,) = [plugin["error"] for plugin in plugins() if plugin["error"]]
    assert taken in error and "residual-bridge" in error and "brings-it-again" in error
    assert bridge("models")[0] == 1


@pytest.mark.parametrize("taken", ["english", "stories"])
def test_a_corpus_that_is_taken_is_refused(taken: str, package: Package) -> None:
    package("brings-text-again", names(f"NamedCorpus({taken!r}, './somewhere')"))
    assert taken in broken("brings-text-again")


@pytest.mark.parametrize("item", ["'qwen'", "Alias('', 'x')", "Alias('x', 3)", "NamedCorpus(3, 'x')"])
def test_what_is_no_name_breaks_its_plugin_alone(item: str, package: Package) -> None:
    package("brings-nonsense", names(item))
    assert "brings_nonsense" in broken("brings-nonsense") or "no name" in broken("brings-nonsense")
    assert ours_are_whole(plugins())
