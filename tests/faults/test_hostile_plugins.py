"""Hostile plugins of every kind: contained or named, and the results of the others kept."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from forked_cli import Ended, Server
from hostile_bench import NAME, Bench
from hostile_plugins import DEATHS, DEEDS, HOOKS, LEFTOVERS, METHODS, VALUES, WORKING, hostile, returning
from small_plugins import Package, ours_are_whole

SKIPPED = ("dictionary_formats", "reader_formats", "models")
"""Kinds that are asked whether a file is theirs: one that fails is passed over."""

PLAIN = ("Exception", "RecursionError", "MemoryError")
"""Deeds that are told in the words of the stage, with the short name."""

BOUND = 45.0
"""Seconds, on a busy machine, that no command of these may take."""


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    server = Server()
    yield server
    server.end()


@pytest.fixture
def bench(server: Server, package: Package, experiment: list[str], tmp_path: Path) -> Bench:
    return Bench(server, package, experiment, tmp_path)


@pytest.fixture(scope="module")
def usual() -> dict[str, tuple[Ended, object]]:
    """How each kind's command ends where its plugin does nothing foul, filled by the first test that asks."""
    return {}


def undisturbed(kind: str, bench: Bench, usual: dict[str, tuple[Ended, object]]) -> tuple[Ended, object]:
    if kind not in usual:
        folder = bench.folder / "undisturbed"
        site = folder / "site-packages"
        site.mkdir(parents=True)
        quiet = Bench(bench.server, bench.package, bench.experiment, folder)
        (site / "quiet.py").write_text(hostile(kind, "never", "pass"))
        info = site / "quiet-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: quiet\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[bridge]\n{kind}.hostile = quiet\n")
        usual[kind] = quiet.drive(kind), quiet.results()
    return usual[kind]


def raised(kind: str, moment: str, deed: str, bench: Bench, usual: dict[str, tuple[Ended, object]]) -> None:
    """A deed that raises, at construction or work: named, and the others' results kept."""
    ended, results = undisturbed(kind, bench, usual)
    who = bench.install(kind, hostile(kind, moment, DEEDS[deed]))
    done = bench.drive(kind)
    assert done.seconds < BOUND
    if kind in ("scorers", *SKIPPED):
        assert done.code == ended.code, done.err
        assert bench.results() == results
        if kind == "scorers" and moment == "work":
            assert "The scorer hostile failed; its scores are missing: " in done.said
            assert who in done.said
            failed = json.loads((bench.folder / "out" / "metrics.json").read_text())["bridge"]["failed_scorers"]
            assert who in failed["hostile"]
    else:
        # A ValueError of a constructor is how a plugin refuses options.
        assert done.code == (2 if (moment, deed) == ("construction", "Exception") else 1), done.err
        assert "hostile" in done.said
        assert who in done.said or deed in PLAIN


def killed(kind: str, moment: str, deed: str, bench: Bench, usual: dict[str, tuple[Ended, object]]) -> None:
    """A deed that ends the process: the next command says who was at work."""
    code, expected = DEATHS[deed]
    who = bench.install(kind, hostile(kind, moment, code))
    done = bench.drive(kind)
    assert done.code == expected, done
    said = bench.next()
    assert "did not end normally" in said
    assert f"BRIDGE_DISABLE_PLUGINS={who} disables it" in said
    if kind == "scorers" and moment == "work":
        assert bench.results() == undisturbed(kind, bench, usual)[1]
        folder = bench.folder / "out"
        failed = json.loads((folder / "metrics.json").read_text())["bridge"]["failed_scorers"]
        assert failed == {"hostile": "the process ended before it had finished"}


def left(kind: str, moment: str, deed: str, bench: Bench, usual: dict[str, tuple[Ended, object]]) -> None:
    """A deed after which the plugin works: the command ends as usual, and leaves the same."""
    ended, results = undisturbed(kind, bench, usual)
    who = bench.install(kind, hostile(kind, moment, LEFTOVERS[deed]))
    done = bench.drive(kind)
    assert done.code == ended.code, done.err
    assert done.seconds < BOUND
    assert bench.results() == results
    assert done.out.replace("\n", "") or not ended.out
    if deed in ("thread", "exit function"):
        assert f"did not wait any longer for {'the thread lasting' if deed == 'thread' else 'a function'}" in done.said
        assert f"plugin {who}" in done.said.replace("- ", "-")


@pytest.mark.faults
@pytest.mark.parametrize("deed", DEEDS)
@pytest.mark.parametrize("moment", ["construction", "work"])
@pytest.mark.parametrize("kind", WORKING)
def test_raised(kind: str, moment: str, deed: str, bench: Bench, usual: dict[str, tuple[Ended, object]]) -> None:
    raised(kind, moment, deed, bench, usual)


@pytest.mark.faults
@pytest.mark.parametrize("deed", DEATHS)
@pytest.mark.parametrize("moment", ["construction", "work"])
@pytest.mark.parametrize("kind", WORKING)
def test_killed(kind: str, moment: str, deed: str, bench: Bench, usual: dict[str, tuple[Ended, object]]) -> None:
    killed(kind, moment, deed, bench, usual)


@pytest.mark.faults
@pytest.mark.parametrize("deed", LEFTOVERS)
@pytest.mark.parametrize("kind", WORKING)
def test_left(kind: str, deed: str, bench: Bench, usual: dict[str, tuple[Ended, object]]) -> None:
    left(kind, "work", deed, bench, usual)


@pytest.mark.faults
@pytest.mark.parametrize("moment", ["import", "registration"])
@pytest.mark.parametrize("kind", HOOKS)
def test_every_hook_before_work(kind: str, moment: str, bench: Bench) -> None:
    """Left out and named with its error; whatever it leaves behind, the list of plugins is whole."""
    for deed in (*DEEDS.values(), *LEFTOVERS.values()):
        bench.replace(kind, hostile(kind, moment, deed))
        done = bench.bridge("plugins", "--json")
        assert done.code == 0, (deed, done)
        found = json.loads(done.out)["plugins"]
        assert ours_are_whole(found), deed
        mine = [plugin["health"] == "broken" for plugin in found if plugin["distribution"] == NAME]
        assert mine and set(mine) == {deed in DEEDS.values()}, (deed, mine)  # a reader format brings a verbalizer
    for deed, (code, expected) in DEATHS.items():
        bench.replace(kind, hostile(kind, moment, code))
        assert bench.bridge("plugins", "--json").code == expected, deed
        assert f"this plugin was at work: {NAME}:{kind}.hostile (import)" in bench.next()


@pytest.mark.faults
@pytest.mark.parametrize("value", VALUES)
@pytest.mark.parametrize(("kind", "method"), [(kind, one) for kind, some in METHODS.items() for one in some])
def test_returned(kind: str, method: str, value: str, bench: Bench, usual: dict[str, tuple[Ended, object]]) -> None:
    """Nonsense of any type: refused by name, or without influence."""
    ended, results = undisturbed(kind, bench, usual)
    bench.install(kind, returning(kind, method, value))
    done = bench.drive(kind)
    assert done.code in (0, 1, 2), done
    assert "bug in bridge" not in done.said, done.err
    if done.code != ended.code:
        assert "hostile" in done.said, done.err
    elif kind in ("scorers", *SKIPPED):
        assert bench.results() == results


# A few of them, always


@pytest.mark.parametrize(
    ("act", "kind", "deed"),
    [
        (raised, "maps", "SystemExit"),
        (raised, "scorers", "MemoryError"),
        (killed, "scorers", "os._exit"),
        (left, "scorers", "closed descriptors"),
        (left, "maps", "thread"),
    ],
)
def test_some(act: object, kind: str, deed: str, bench: Bench, usual: dict[str, tuple[Ended, object]]) -> None:
    assert callable(act)
    act(kind, "work", deed, bench, usual)


HANGING = {
    "sleeps": ("__import__('time').sleep(600)", (6.0,)),
    "catches": (
        "import time\n    while True:\n        try: time.sleep(600)\n        except BaseException: pass",
        (6.0, 7.0),
    ),
}


@pytest.mark.parametrize("way", HANGING)
def test_a_hanging_plugin_is_interrupted(way: str, bench: Bench) -> None:
    deed, interrupts = HANGING[way]
    who = bench.install("maps", hostile("maps", "work", deed))
    done = bench.drive("maps", interrupts)
    assert done.code == 130, done
    assert done.seconds < interrupts[-1] + 5
    assert who in done.said.replace("- ", "-")  # lines are broken at hyphens
    assert "did not end normally" not in bench.next()
