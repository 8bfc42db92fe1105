"""Published readers as data: listed, added to by packages, and taken where a model has none of its own."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

import bridge_toys.dyck
from small_plugins import Package, bridge, ours_are_whole, plugins

CHECKPOINT = Path(bridge_toys.dyck.__file__).parent / "checkpoints" / "seed3"
HEAD = f"""
from bridge.hookspecs import hookimpl
from bridge.models import Alias
from bridge.verbalizers import KnownReader

MODEL = {str(CHECKPOINT)!r}

@hookimpl
def register_aliases(register):
    register(Alias("mine", MODEL))

@hookimpl
def register_known_readers(register):
"""


def source(*readers: str) -> str:
    return HEAD + "".join(f"    register({reader})\n" for reader in readers)


def reader(name: str, verbalizer: str, site: str = "1", more: str = "") -> str:
    return f"KnownReader({name!r}, MODEL, ({site!r},), {verbalizer!r}, source='https://example.org'{more})"


def listed(*arguments: str) -> dict[str, dict[str, object]]:
    code, out, err = bridge("readers", "--json", *arguments)
    assert code == 0, err
    return {entry["name"]: entry for entry in json.loads(out)["readers"]}


def explained(*more: str) -> tuple[dict[str, object], str]:
    arguments = ("explain", "--src", "dyck:seed0@1", "--via", "mine", "--text", "([]{}(", "--json", *more)
    code, out, err = bridge(*arguments, "--max-documents", "300", "--map", "procrustes")
    assert code == 0, err
    return json.loads(out)["bridge"], " ".join(err.split())


def test_what_is_published_is_listed_with_what_it_needs(isolated: Path) -> None:
    known = listed()
    oracle = known["oracle-qwen3-8b"]
    assert (oracle["sites"], oracle["base"], oracle["extra"]) == (["18", "9", "27"], "Qwen/Qwen3-8B", "")
    assert oracle["missing"] == oracle["weights"] and oracle["asks"] and not oracle["reconstructs"]
    assert all(re.match("https://", str(entry["source"])) for entry in known.values())
    # By any name of the model, which need not be on this machine.
    assert set(listed("--model", "qwen2.5-7b")) == set(listed("--model", "Qwen/Qwen2.5-7B-Instruct@3"))
    code, out, _ = bridge("readers", "--model", "qwen3-8b")
    assert code == 0 and "oracle-qwen3-8b" in out
    code, _, err = bridge("readers", "--model", "qwen3-8b:base")
    assert code == 2 and "bridge verbalizer train" in err


def test_a_model_without_a_layer_is_read_by_the_best_one_which_is_named(package: Package, isolated: Path) -> None:
    package(
        "brings-readers",
        source(
            reader("far", "nla:checkpoint=hub:some/where", more=", reconstructs=True"),
            reader("large", "logit_lens:top=2", "0", ", gigabytes=9.0"),
            reader("small", "logit_lens:top=3", "1", ", gigabytes=2.0"),
            reader("absent", "no_such_kind", more=", reconstructs=True"),
            reader("oracle", "logit_lens:top=4", more=", asks=True, gigabytes=1.0"),
        ),
    )
    assert {name: entry["here"] for name, entry in listed("--model", "mine").items()} == {
        "absent": True,
        "far": False,
        "large": True,
        "oracle": True,
        "small": True,
    }
    found, err = explained()
    assert (str(found["dst"]).rpartition("@")[2], found["verbalizer"]) == ("1", "logit_lens:top=3")
    assert "read at 1, by small" in err and "also known: absent, far, large, oracle" in err
    # Of the site that is named, and no other.
    code, out, err = bridge(
        *("explain", "--src", "dyck:seed0@1", "--via", "mine@0", "--text", "([]{}(", "--json"),
        *("--max-documents", "300", "--map", "procrustes"),
    )
    assert code == 0 and json.loads(out)["bridge"]["verbalizer"] == "logit_lens:top=2", err


def test_what_lies_in_the_models_folder_is_here(package: Package, isolated: Path) -> None:
    package("brings-one", source(reader("far", "nla:checkpoint=hub:some/where,ar=hub:some/where/ar")))
    assert listed("--model", "mine")["far"]["missing"] == ["some/where", "some/where/ar"]
    (isolated / "models" / "some" / "where").mkdir(parents=True)
    assert listed("--model", "mine")["far"]["missing"] == ["some/where/ar"]


@pytest.mark.parametrize(
    ("item", "why"),
    [
        ("'text'", "KnownReader"),
        (reader("", "logit_lens"), "empty"),
        (reader("mine", "logit_lens").replace("('1',)", "[]"), "sites"),
        (reader("mine", "logit_lens", more=", gigabytes=float('nan')"), "gigabytes"),
        (reader("mi\x1b[2Jne", "logit_lens"), "printed"),
    ],
)
def test_what_is_no_reader_breaks_its_plugin_alone(item: str, why: str, package: Package) -> None:
    package("brings-nonsense", source(item))
    (plugin,) = [plugin for plugin in plugins() if plugin["distribution"] == "brings-nonsense"]
    assert plugin["health"] == "broken" and why in plugin["error"]
    assert ours_are_whole(plugins())


def test_two_packages_with_one_name_are_refused(package: Package) -> None:
    package("brings-again", source(reader("nla-qwen2.5-7b", "logit_lens")))
    code, _, err = bridge("readers")
    assert code == 1 and "brings-again" in err and "residual-bridge" in err


def test_laws_of_known_readers(package: Package) -> None:
    package("brings-two", source(reader("good", "logit_lens"), reader("bad", "logit_lens:bottom=3")))
    assert bridge("plugins", "check", "good")[0] == 0
    code, out, _ = bridge("plugins", "check", "bad")
    assert code == 1 and "bottom" in out
