"""Plugins of strangers: a whole package through pip and the real command, and every way in which one can be broken."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from small_plugins import A_SCORER, FIRST_PARTY, Package, a_map, bridge, ours_are_whole, plugins
from strangers import EXAMPLES, STRANGERS, Bench, Machine, install


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Machine:
    """Every example package, built into a wheel and installed by pip: once for all tests of this file."""
    return install(tmp_path_factory.mktemp("machine"))


def test_every_example_is_driven() -> None:
    assert {path.parent.name for path in EXAMPLES.glob("*/pyproject.toml")} == set(STRANGERS)


def test_strangers_packages_are_found(machine: Machine) -> None:
    listed = machine.bridge("plugins")["plugins"]
    assert ours_are_whole(listed)
    theirs = {plugin["distribution"]: plugin for plugin in listed if plugin["distribution"] != FIRST_PARTY}
    assert set(theirs) == set(STRANGERS)
    for distribution, plugin in theirs.items():
        stranger = STRANGERS[distribution]
        assert (plugin["kind"], plugin["name"]) == (stranger.kind, stranger.name)
        assert (plugin["version"], plugin["health"]) == ("0.1.0", "ok"), plugin["error"]
        assert plugin["summary"]


@pytest.mark.parametrize("distribution", STRANGERS)
def test_a_strangers_package_through_pip_and_the_real_command(
    distribution: str,
    machine: Machine,
    experiment: list[str],
    tiny_models: Mapping[str, list[Path]],
    tmp_path: Path,
) -> None:
    stranger = STRANGERS[distribution]
    stranger.drive(Bench(machine, tiny_models, experiment[4:], tmp_path))
    if stranger.kind == "maps":  # Whoever gets the bridge without the plugin is told what is missing.
        out, rows = tmp_path / "out", tmp_path / "rows.safetensors"
        code, _, err = bridge("transfer", "directions", out, rows, "--out", tmp_path / "again.safetensors")
        assert code == 2
        assert f"There is no map {stranger.name}" in err


@pytest.mark.parametrize("distribution", STRANGERS)
def test_a_strangers_own_tests_pass(distribution: str, machine: Machine) -> None:
    source = machine.sources / distribution
    machine.python("-m", "pytest", "-q", "-p", "no:cacheprovider", "tests", cwd=source)


BROKEN = {
    "raises-at-import": ('raise RuntimeError("half a [red]migration")', "RuntimeError: half a [red]migration"),
    "exits-at-import": ("import sys\nsys.exit(3)", "SystemExit: 3"),
    "imports-nothing-there": ("import surely_not_there", "No module named 'surely_not_there'"),
    "unknown-hook": (
        "from bridge.hookspecs import hookimpl\n@hookimpl\ndef register_nonsense(register):\n    pass",
        "register_nonsense",
    ),
    "wrong-argument": (
        "from bridge.hookspecs import hookimpl\n@hookimpl\ndef register_maps(registrar):\n    pass",
        "registrar",
    ),
    "no-map": (
        "from bridge.hookspecs import hookimpl\n@hookimpl\ndef register_maps(register):\n    register(dict)",
        "expected a subclass of Map",
    ),
    "nameless": (a_map("x").replace('name = "x"', "name = None"), "has no name"),
    "forgot-to-decorate": ("def register_maps(register):\n    pass", "registers nothing"),
    "half-registered": (
        a_map("half") + '\n@hookimpl\ndef register_scorers(register):\n    raise ValueError("no scorer")',
        "no scorer",
    ),
}


def test_every_broken_plugin_is_named_and_hurts_no_other(
    package: Package, experiment: list[str], tmp_path: Path
) -> None:
    for distribution, (code, _) in BROKEN.items():
        package(distribution, code)
    package("sound", a_map("sound"))
    found = plugins()
    assert ours_are_whole(found)
    by_distribution = {plugin["distribution"]: plugin for plugin in found}
    assert by_distribution["sound"]["health"] == "ok"
    for distribution, (_, said) in BROKEN.items():
        plugin = by_distribution[distribution]
        assert plugin["health"] == "broken", distribution
        assert said in plugin["error"], distribution
        assert plugin["version"] == "1.0"
    assert "half" not in {plugin["name"] for plugin in found}

    _, table, _ = bridge("plugins")
    _, checks, _ = bridge("doctor")
    for distribution, (_, said) in BROKEN.items():
        assert f"maps.{distribution.replace('-', '_')} of {distribution}" in table
        assert said in table
        assert f"FAIL plugin maps.{distribution.replace('-', '_')} of {distribution}" in checks

    code, out, err = bridge("run", *experiment, "--map", "sound", "--out", tmp_path / "out")
    assert code == 0, err
    assert "sound" in out


@pytest.mark.parametrize("same", ["entry point", "map"])
def test_two_claims_to_one_name(
    same: str, package: Package, experiment: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entries = ("maps.twice", "maps.twice") if same == "entry point" else ("maps.one", "maps.two")
    package("first-dist", a_map("twice"), entries[0])
    package("second-dist", a_map("twice"), entries[1])
    found = plugins()
    assert ours_are_whole(found)
    broken = [plugin for plugin in found if plugin["health"] == "broken"]
    assert len(broken) == (2 if same == "entry point" else 1)
    _, checks, _ = bridge("doctor", "--json")
    failed = [check for check in json.loads(checks)["checks"] if check["name"].startswith("plugin ")]
    assert len(failed) == len(broken)

    out = tmp_path / "out"
    arguments = ["run", *experiment, "--map", "twice", "--out", out]
    code, _, err = bridge(*arguments)
    assert code == 1
    said = " ".join(err.split())
    assert "first-dist" in said
    assert "second-dist" in said
    mend = f"second-dist:{entries[1]}"
    assert f"BRIDGE_DISABLE_PLUGINS={mend}" in said
    assert not out.exists()

    monkeypatch.setenv("BRIDGE_DISABLE_PLUGINS", mend)
    code, _, err = bridge(*arguments)
    assert code == 0, err
    assert {plugin["distribution"] for plugin in plugins()} == {FIRST_PARTY, "first-dist"}
    monkeypatch.delenv("BRIDGE_DISABLE_PLUGINS")
    monkeypatch.setenv("BRIDGE_ONLY_PLUGINS", "maps.ridge, first-dist:" + entries[0])
    assert {plugin["name"] for plugin in plugins()} == {"ridge", "twice"}


WRONG_SHAPE = """
        fitted = super().fit(data)
        class Wrong(FittedMap):
            d_src, d_dst = fitted.d_src, fitted.d_dst
            def __call__(self, x):
                return fitted(x)[:1]
            def direction(self, v):
                return fitted.direction(v)
            def arrays(self):
                return fitted.arrays()
        return Wrong()
"""


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ('raise ZeroDivisionError("of all things")', "failed to fit (ZeroDivisionError: of all things)"),
        ("return super().fit(data).weight", "returned ndarray from misbehaving.fit, not FittedMap"),
        (WRONG_SHAPE, "gives shape (1, 40) for points of shape (2, 32)"),
        (WRONG_SHAPE.replace("(x)[:1]", "(x) * np.nan"), "NaN or infinite values for points"),
        (WRONG_SHAPE.replace("(x)[:1]", "(x)").replace("direction(v)\n", "direction(v).T\n"), "for directions"),
    ],
)
def test_map_that_misbehaves(body: str, said: str, package: Package, experiment: list[str], tmp_path: Path) -> None:
    package("misbehaving", a_map("misbehaving", body))
    code, out, err = bridge("run", *experiment, "--map", "misbehaving", "--out", tmp_path / "out")
    assert (code, out) == (1, "")
    message = " ".join(err.partition("Error:")[2].split())
    assert message.startswith(("The map misbehaving ", "The plugin misbehaving:"))
    assert said in message
    assert "Traceback" not in err
    assert not (tmp_path / "out").exists()
    assert ours_are_whole(plugins())


def test_control_that_misbehaves_costs_only_its_arm(package: Package, experiment: list[str], tmp_path: Path) -> None:
    package("control", a_map("control", 'raise KeyError("lost")', 'control_arm = "of_a_stranger"'))
    package("control-too", a_map("control_too", fields='control_arm = "of_another"'))
    code, out, err = bridge("run", *experiment, "--json", "--out", tmp_path / "out")
    assert code == 0, err
    assert "No of_a_stranger control" in err
    assert {metric["arm"] for metric in json.loads(out)["metrics"]} == {
        "mapped",
        "mispaired",
        "random_map",
        "of_another",
    }


def test_scorers_that_misbehave_are_left_out_with_a_note(
    package: Package, experiment: list[str], tmp_path: Path
) -> None:
    package("strange-scorers", A_SCORER, "scorers.strange")
    code, out, err = bridge("run", *experiment, "--json", "--out", tmp_path / "out")
    assert code == 0, err

    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    document = json.loads(out, parse_constant=refuse)
    assert {metric["scorer"] for metric in document["metrics"]} == {
        *("cka", "cosine", "explained_variance", "retrieval"),
        "sound",
    }
    for name, reason in (("divides", "ZeroDivisionError"), ("nan", "it returned Metric"), ("text", "TypeError")):
        assert f"The scorer {name} failed; its scores are missing: {reason}" in err
    assert json.loads((tmp_path / "out" / "metrics.json").read_text()) == document


def test_a_plugin_that_prints_leaves_standard_output_alone(package: Package) -> None:
    package("chatty", 'print("welcome!")\n' + a_map("chatty").replace("register(Mine)", 'print("hi"); register(Mine)'))
    code, out, err = bridge("plugins", "--json")
    assert code == 0
    assert "chatty" in {plugin["name"] for plugin in json.loads(out)["plugins"]}
    assert "welcome!" in err
    assert "hi" in err


def test_verbalizers_and_dictionary_formats_register(package: Package) -> None:
    package(
        "reads-and-writes",
        '''
        """A verbalizer and a dictionary format."""
        from dataclasses import dataclass

        from bridge.dictionaries import DictionaryFormat
        from bridge.hookspecs import hookimpl
        from bridge.verbalizers import Explanation, Verbalizer, VerbalizerBackend


        class Parrots(Verbalizer):
            def __init__(self, d_model):
                self.d_model = d_model

            def explain(self, vectors):
                return [Explanation("polly") for _ in vectors]


        @dataclass(frozen=True)
        class Parrot(VerbalizerBackend):
            name, summary = "parrot", "Says the same of everything."

            def open(self, subject):
                return Parrots(subject.d_model)


        class Napkin(DictionaryFormat):
            name, summary = "napkin", "Written on the back of one."

            def recognises(self, path):
                return path.suffix == ".napkin"

            def load(self, path):
                raise NotImplementedError


        @hookimpl
        def register_verbalizers(register):
            register(Parrot)


        @hookimpl
        def register_dictionary_formats(register):
            register(Napkin())
        ''',
        "verbalizers.parrot",
        "2.5.1",
    )
    for kind, name in (("verbalizers", "parrot"), ("dictionary_formats", "napkin")):
        (plugin,) = [plugin for plugin in plugins("--kind", kind) if plugin["name"] == name]
        assert (plugin["kind"], plugin["name"], plugin["health"]) == (kind, name, "ok")
        assert (plugin["distribution"], plugin["version"]) == ("reads-and-writes", "2.5.1")
    assert ours_are_whole(plugins())
