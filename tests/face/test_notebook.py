"""Results in a notebook and in pandas: what is shown, in a line and as HTML, and that no text in it is markup."""

from __future__ import annotations

import sys
from dataclasses import asdict
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bridge
from bridge.errors import UsageError
from bridge.maps import AffineMap
from bridge.metrics import Metric

EVIL = "<script>alert(1)</script>\x1b[31m\u202e&"
B = bridge.Bridge("a@1", "b@1", "ridge", {"penalty": 1.0}, AffineMap(np.eye(3), np.zeros(3), np.zeros(3)), {})


def metric(name: str, arm: str, value: float, src: str = "a@1", dst: str = "b@1", scorer: str = "s") -> Metric:
    control = "mispaired" if arm == "mapped" else ""
    return Metric(scorer, name, arm, "ridge", src, dst, value, value - 0.1, value + 0.1, 9, control)


def results(text: str) -> dict[str, bridge.Bridge | Any]:
    metrics = [metric(text, "mapped", 0.5), metric(text, "mispaired", 0.1), metric("other", text, float("nan"))]
    doses = [metric(f"kl@{dose}", arm, 0.5, scorer="steering") for dose in (1, 2) for arm in ("mapped", text)]
    sites = [[f"{text}@{layer}" for layer in (0, 1)], [f"b@{layer}" for layer in (0, 1, 2)]]
    swept = [metric("ev", "mapped", 0.1 * i, src, dst) for i, src in enumerate(sites[0]) for dst in sites[1]]
    reading = bridge.Reading(text, text, 3, text, (text,), 0.5)
    about = {"src": text, "dst": "b@1", "map": text}
    return {
        "bridge": bridge.Bridge(text, "b@1", text, {text: text}, B.fitted, {"rows": {"training_rows": 5}}),
        "run": bridge.Run(B, metrics, None),
        "sweep": bridge.Sweep(swept, *sites, {}),
        "audit": bridge.Audit(metrics, [about]),
        "steering": bridge.Steering(doses, [{"prompt": text, "plain": text, "mapped": text}], about),
        "readings": bridge.Readings([reading], 0.25, 0.5, about),
        "transferred": bridge.Transferred({text: np.ones((2, 3))}, {text: 0.75}, about),
    }


class Elements(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()
        self.open: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert not any(name.startswith("on") for name, _ in attrs)
        self.names.add(tag)
        self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        while self.open.pop() != tag:
            pass

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.mark.parametrize("name", results("x"))
def test_html_shows_what_was_measured_and_escapes_all_text(name: str) -> None:
    shown, plain = Elements(), Elements()
    page = results(EVIL)[name]._repr_html_()
    shown.feed(page)
    plain.feed(results("word")[name]._repr_html_())
    assert shown.names == plain.names and not shown.open
    assert "script" not in shown.names and "\x1b" not in page and "\u202e" not in page
    assert "alert(1)" in shown.text or name in ("run", "audit")
    wanted = {"sweep": {"svg"}, "run": {"svg", "table"}}.get(name, {"table"})
    assert wanted <= plain.names
    if name == "run":
        assert "0.500 [0.400, 0.600]" in plain.text and "mispaired" in plain.text
    assert page == results(EVIL)[name]._repr_html_(), "the same bytes every time"


def test_a_long_table_is_cut_and_says_so() -> None:
    one = bridge.Reading("t", "t", 3, "e", (), None)
    page = bridge.Readings([one] * 300, None, None, {"src": "a", "dst": "b"})._repr_html_()
    assert page.count("<tr>") == 201 and "The first 200 of 300 rows." in page


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("bridge", "Bridge(x [3] -> b@1 [3], x)"),
        ("run", "Run(a@1 -> b@1, ridge: x 0.500 (mispaired 0.100), 3 metrics)"),
        ("sweep", "Sweep(2 x 3 layers: best ev 0.100 at x@1 -> b@0)"),
        ("audit", "Audit(1 pairs of sites: x 0.500 (mispaired 0.100), 3 metrics)"),
        ("steering", "Steering(x -> b@1, x: kl@1 0.500, kl@2 0.500, 4 metrics)"),
        ("readings", "Readings(x explained by b@1: 1 explanations, fve 0.250)"),
        ("transferred", "Transferred(x -> b@1: gains x 0.750)"),
    ],
)
def test_a_line_says_what_it_is(name: str, line: str) -> None:
    assert repr(results("x")[name]) == line


def test_frames_hold_the_records() -> None:
    pandas = pytest.importorskip("pandas")
    for name, result in results("x").items():
        if name == "bridge":
            continue
        frame = result.to_frame()
        assert isinstance(frame, pandas.DataFrame) and len(frame) == len(result.records())
        assert list(frame.columns) == list(result.records()[0])
    run = results("x")["run"]
    assert run.to_frame().loc[0].to_dict() == asdict(run.metrics[0])


def test_without_pandas_an_error_says_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(UsageError, match=r"pip install 'residual-bridge\[pandas\]'.*records\(\)"):
        results("x")["run"].to_frame()
