"""Plots that scorers bring: drawn from what a run kept, harmless whatever they hold, and missed by nothing else."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from textwrap import indent
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from bridge.errors import ConformanceError
from bridge.metrics import Metric
from bridge.pipeline.fit.record import BridgeRecord
from bridge.report.html import scorer_plots, write_report
from bridge.testing import conformance
from chromium import CHROMIUM, Browser, undisturbed
from html_tree import text_of
from report_files import HOSTILE, well_formed
from sealed_files import bind
from small_plugins import Package, bridge, plugins

A_PLOT = '''
"""A scorer with a plot."""
import sys
import numpy as np
from bridge.hookspecs import hookimpl
from bridge.scorers import Need, Plot, Scorer
from matplotlib.figure import Figure

bridge_api = "1.1"


class Draws(Scorer):
    name, summary, needs = "draws", "For this test.", frozenset({Need.MAP})

    def score(self, evidence):
KEEP
        for arm in evidence.arms:
            yield evidence.metric(self, "drawn", arm, 0.5, (0.4, 0.6), 7)

    def plot(self, kept, look):
        figure = Figure()
        axes = figure.subplots()
DRAW


@hookimpl
def register_scorers(register):
    register(Draws())
'''
KEEP = 'evidence.keep("draws.ev.mapped", np.array([[1.0, 0.5], [10.0, 0.25], [100.0, 0.125]]))'
DRAW = """
x, y = kept["ev.mapped"].T
axes.semilogx(x, y, label="mapped", **look("mapped"))
axes.legend()
axes.set_ylabel("explained")
return Plot(figure, "Drawn by a stranger", "it falls from 0.5 to 0.125", "how to read it")
"""


def a_plot(draw: str = DRAW, keep: str = KEEP) -> str:
    return A_PLOT.replace("KEEP", indent(keep, " " * 8)).replace("DRAW", indent(draw.strip(), " " * 8))


def run_folder(path: Path, arrays: Mapping[str, np.ndarray] | None = None) -> Path:
    """A run's folder as it lies on disk, without a run."""
    path.mkdir()
    metrics = [
        Metric("draws", "drawn", arm, "ridge", "a@0", "b@0", 0.5, 0.4, 0.6, 7).__dict__ for arm in ("mapped", "raw")
    ]
    (path / "metrics.json").write_text(json.dumps({"schema": 1, "bridge": {}, "metrics": metrics}))
    named = {"src": "a@0", "dst": "b@0", "map": "ridge", "map_options": {}, "provenance": {}}
    (path / "config.toml").write_text("")
    rows = np.array([[1, 0.5], [10, 0.25], [100, 0.125]], np.float32)
    save_file(dict(arrays or {"draws.ev.mapped": rows}), path / "scored.safetensors")
    BridgeRecord(**named, d_src=3, d_dst=3, files={}).write(path)
    return bind(path)


def page_of(folder: Path) -> str:
    return write_report([folder], folder / "report.html").read_text(encoding="utf-8")


def test_a_run_keeps_what_is_drawn_and_the_page_shows_it(
    package: Package, experiment: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package("draws", a_plot(), "scorers.draws")
    package(
        "spoils",
        a_plot(keep='evidence.keep("draws.ev.mapped", np.ones(3))').replace('"draws", "For', '"spoils", "For'),
        "scorers.spoils",
    )
    out = tmp_path / "out"
    code, _, err = bridge("run", *experiment, "--out", out)
    assert code == 0, err
    assert "The scorer spoils failed; its scores are missing: Another scorer has kept" in " ".join(err.split())
    kept = load_file(out / "scored.safetensors")
    assert {name: (array.dtype, array.shape) for name, array in kept.items()} == {
        "draws.ev.mapped": ("float32", (3, 2))
    }
    page = (out / "report.html").read_text(encoding="utf-8")
    root = well_formed(page)
    (figure,) = (one for one in root.iter("figure") if one.get("id") == "map-own0")
    assert text_of(figure).startswith("Drawn by a stranger how to read it")
    svg = next(figure.iter("svg"))
    assert svg.get("aria-label") == "Drawn by a stranger. it falls from 0.5 to 0.125"
    assert "explained" in text_of(svg) and "$" not in text_of(svg)
    drawn = " ".join(value for node in svg.iter() for value in node.attrib.values())
    assert "var(--mapped)" in drawn and "currentColor" in drawn and "#00000" not in drawn
    assert page_of(out) == page, "the same arrays give the same page"

    # Elsewhere the package is missing: the page says so, and has all that it had.
    monkeypatch.setenv("BRIDGE_DISABLE_PLUGINS", "scorers.draws")
    without = well_formed(page_of(out))
    assert "The plot of the scorer draws is left out: the scorer is not installed." in text_of(without)
    assert [text_of(node) for node in without.iter("table")] == [text_of(node) for node in root.iter("table")]
    assert len(list(without.iter("figure"))) == len(list(root.iter("figure"))) - 1
    # A run that keeps nothing leaves no arrays of the earlier one behind.
    monkeypatch.setenv("BRIDGE_DISABLE_PLUGINS", "scorers.draws,scorers.spoils")
    code, _, err = bridge("run", *experiment, "--out", out)
    assert code == 0, err
    assert not (out / "scored.safetensors").exists()


@pytest.mark.parametrize(
    ("keep", "reason"),
    [
        ('evidence.keep("draws.x", [1.0])', "it kept draws.x as list"),
        ('evidence.keep("draws.x", np.array([np.nan]))', "it kept draws.x as NaN or infinite values"),
        ('evidence.keep("draws.x", np.array([1e39]))', "it kept draws.x as values beyond float32"),
        ('evidence.keep("draws.x", np.array([1]))', "it kept draws.x as dtype int64"),
        ("evidence.keep(3, np.ones(3))", "under the name 3"),
        ('evidence.keep("__metadata__", np.ones(3))', "under the name '__metadata__'"),
        ('evidence.keep("a\\x00b", np.ones(3))', "under the name 'a\\x00b'"),
    ],
)
def test_what_cannot_be_kept_costs_the_scorer_alone(
    keep: str, reason: str, package: Package, experiment: list[str], tmp_path: Path
) -> None:
    package("draws", a_plot(keep=keep), "scorers.draws")
    code, out, err = bridge("run", *experiment, "--json", "--out", tmp_path / "out")
    assert code == 0, err
    document = json.loads(out)
    assert reason in document["bridge"]["failed_scorers"]["draws"]
    assert "draws" not in {metric["scorer"] for metric in document["metrics"]}
    assert not (tmp_path / "out" / "scored.safetensors").exists()


@pytest.mark.parametrize(
    ("draw", "reason"),
    [
        ("1 / 0", "ZeroDivisionError: division by zero"),
        ("sys.exit(0)", "SystemExit: 0"),
        ("kept['of another version']", "KeyError: 'of another version'"),
        ("return figure", "It returned Figure, not a bridge.scorers.Plot"),
        ("return '<svg onload=alert(1)>'", "It returned str, not a bridge.scorers.Plot"),
        ("return Plot('<svg/>', 'title', 'says')", "It returned str, not a bridge.scorers.Plot with a Figure"),
        ("return Plot(figure, 'title', ' ')", "Its says is ' '"),
        ("return Plot(figure, b'title', 'says')", "Its title is b'title'"),
        ("return Plot(figure, 'title', 'says', None)", "Its meaning is None"),
        ("axes.set_title('$\\\\frac{$'); return Plot(figure, 'title', 'says')", "ValueError"),
        ("axes.plot(np.random.default_rng(0).normal(size=400_000)); return Plot(figure, 'title', 'says')", "bytes"),
    ],
)
def test_a_plot_that_fails_is_named_and_all_else_is_there(
    draw: str, reason: str, package: Package, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scorer_plots, "LARGEST", 2**17)
    package("draws", a_plot(draw), "scorers.draws")
    root = well_formed(page_of(run_folder(tmp_path / "run")))
    said = text_of(root)
    assert "The plot of the scorer draws is left out: " in said
    assert reason in said.partition("is left out: ")[2][:300]
    assert [one.get("id") for one in root.iter("figure")] == ["map-plot0"]


def test_a_plot_that_prints_or_is_none(package: Package, tmp_path: Path) -> None:
    package("draws", a_plot("print('drawing'); return None"), "scorers.draws")
    folder = run_folder(tmp_path / "run")
    code, out, err = bridge("report", folder, "--json")
    assert code == 0 and json.loads(out) and "drawing" in err
    assert "left out" not in (folder / "report.html").read_text()
    # Arrays of a scorer that has no number in the run are nobody's to draw.
    other = run_folder(tmp_path / "other", {"spectrum.x": np.ones(3, np.float32)})
    assert "left out" not in page_of(other)


HARMFUL = f"""
from matplotlib.patches import Rectangle
texts = {HOSTILE!r}
axes.bar([0, 1], [1, 2], hatch="//", label=texts[0])
axes.text(0.5, 1, texts[1].replace("$", ""), url="http://evil.example/", gid="main")
axes.text(0.5, 0.5, "\\u202egpj.exe a\\x00b", parse_math=False)
axes.add_patch(Rectangle((0, 0), 1, 1, url="javascript:alert(1)", gid='" onload="alert(1)'))
figure.add_subplot(3, 3, 9).imshow(kept["ev.mapped"])
axes.legend()
return Plot(figure, texts[0], texts[5] + texts[4], texts[2])
"""


def test_whatever_a_plot_says_is_text(package: Package, tmp_path: Path) -> None:
    package("draws", a_plot(HARMFUL), "scorers.draws")
    page = page_of(run_folder(tmp_path / "run"))
    root = well_formed(page)
    (figure,) = (one for one in root.iter("figure") if one.get("id") == "map-own0")
    assert "evil" not in " ".join(value for node in figure.iter() for value in node.attrib.values())
    assert "javascript" not in page and "\u202e" not in page
    assert {node.tag for node in figure.iter()}.isdisjoint({"a", "script", "style", "metadata"})
    hatch = next(node for node in figure.iter() if node.tag == "pattern")
    filled = [node.get("style", "") for node in figure.iter("path")]
    assert any(f"url(#{hatch.get('id')})" in style for style in filled), "the hatch is still referred to"
    text = text_of(figure)
    assert HOSTILE[0] in text and "</script><script>alert(1)</script>" in text and "\\u202egpj.exe" in text


@pytest.mark.browser
@pytest.mark.skipif(not CHROMIUM, reason="chromium is not on the PATH, and BRIDGE_CHROMIUM names none")
def test_it_is_seen_in_light_and_dark(package: Package, tmp_path: Path) -> None:
    package("draws", a_plot(DRAW.replace("return", "axes.set_title('$x^2$'); return")), "scorers.draws")
    folder = run_folder(tmp_path / "run")
    page_of(folder)
    ink = "[...new Set([...document.querySelectorAll('#map-own0 text')].map(t => getComputedStyle(t).fill))]"
    mapped = "[...document.querySelectorAll('#map-own0 path')].find(p => /mapped/.test(p.getAttribute('style')))"
    line = f"getComputedStyle({mapped}).stroke"
    with Browser() as browser:
        seen: list[Any] = []
        for dark, width in ((False, 1280), (True, 1280), (False, 320)):
            browser.open(folder / "report.html", width, dark, script=True)
            assert browser.run("document.documentElement.scrollWidth") <= width
            seen.append((browser.run(ink), browser.run(line)))
            undisturbed(browser, folder / "report.html")
    assert seen[0] == (["rgb(29, 31, 35)"], "rgb(26, 92, 158)") == seen[2]
    assert seen[1] == (["rgb(231, 229, 224)"], "rgb(130, 182, 238)")


@pytest.mark.parametrize(
    ("draw", "keep", "found"),
    [
        (DRAW, "pass", "no kept array has a name beginning with draws.: nothing was kept"),
        (DRAW, 'evidence.keep("mine", np.ones(3))', "no kept array has a name beginning with draws.: mine"),
        (DRAW, 'evidence.keep("draws.x", np.array([np.inf]))', "it kept draws.x as NaN or infinite values"),
        ("return None", KEEP, "no plot was returned"),
        ("1 / 0", KEEP, "ZeroDivisionError: division by zero"),
        ("return Plot(figure, 'title', '')", KEEP, "Its says is ''"),
        (
            "axes.plot(np.random.default_rng().normal(size=3)); return Plot(figure, 't', 's')",
            KEEP,
            "differs from the first",
        ),
    ],
)
def test_the_check_notices(draw: str, keep: str, found: str, package: Package) -> None:
    package("draws", a_plot(draw, keep), "scorers.draws")
    with pytest.raises(ConformanceError, match=found):
        conformance("scorers", "draws")()


def test_the_check_is_content_with_a_plot_that_keeps_the_laws(package: Package) -> None:
    package("draws", a_plot(), "scorers.draws")
    conformance("scorers", "draws")()
    assert "draws" in {plugin["name"] for plugin in plugins("--kind", "scorers")}
