"""A scorer of a strange package is treated as ours are: in terminal, report, sweep and audit; core names no plugin."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path

import pytest

from bridge.plugins import discover
from small_plugins import FIRST_PARTY, Package, bridge, plugins

CORE = Path(__file__).parents[2] / "core" / "bridge"
PAIR = ("--src", "dyck:seed0@1", "--dst", "dyck:seed1@1", "--map", "procrustes", "--max-documents", 300)

COPY = """
from dataclasses import replace

from bridge.hookspecs import hookimpl
from bridge.scorers import Scorer
from bridge_scorers.{module} import {base}

bridge_api = "1.2"


class Copy(Scorer):
    name = "strange_{module}"
    summary = "A copy under another name."
    needs = {base}.needs
    measures = {base}.measures

    def score(self, evidence):
        return {base}.score(self, replace(evidence, keep=lambda *_: None))  # {base} keeps arrays of the same names

    def sentences(self, metrics):
        return ["strange_{module} has its say."] if metrics else []


@hookimpl
def register_scorers(register):
    register(Copy())
"""


@pytest.fixture
def copies(package: Package) -> None:
    for module, base in (
        ("explained_variance", "ExplainedVariance"),
        ("sae_transfer", "SaeTransfer"),
        ("lift", "Lift"),
    ):
        package(f"strange-{module}".replace("_", "-"), COPY.format(module=module, base=base))


def run(*arguments: object) -> str:
    code, out, err = bridge(*arguments)
    assert code == 0, err
    return out


def test_a_copy_is_found_in_terminal_report_sweep_and_audit(
    copies: None, tmp_path: Path, tiny_encoder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    explaining = ("--dictionary", "own", "--features", 8, "--encoder", tiny_encoder, "--washout", "none")
    readers = ("--src-verbalizer", "logit_lens", "--dst-verbalizer", "logit_lens")
    terminal = run("run", *PAIR, *explaining, *readers, "--out", "run")
    for module in ("explained_variance", "sae_transfer", "lift"):
        assert f"strange_{module}" in terminal
        assert f"strange_{module} has its say." in " ".join(terminal.split())
    page = Path("run/report.html").read_text()
    start, end = page.index("Do explanations transfer?</h2>"), page.index("How is each feature explained?</h2>")
    assert "strange_lift has its say." in page[start:end]
    start, end = page.index("Does the dictionary transfer?</h2>"), page.index("Do explanations transfer?</h2>")
    text = re.sub(r"<wbr>|<[^>]*>", "", page[start:end])
    assert "sae_ev (sae_transfer)" in text and "sae_ev (strange_sae_transfer)" in text
    swept = {metric["scorer"] for metric in json.loads(run("sweep", *_layers(), "--out", "swept", "--json"))["metrics"]}
    assert {"explained_variance", "strange_explained_variance"} <= swept
    assert (
        "ev (strange_explained_variance)"
        in run("report", "swept", "--out", "swept.html") + Path("swept.html").read_text()
    )
    audited = run("audit", *PAIR, "--out", "audit.json")
    assert "[strange_sae_transfer]" in audited and "[strange_explained_variance]" in audited
    run("report", "audit.json", "--out", "audit.html")
    assert "[strange_sae_transfer]" in Path("audit.html").read_text()


def _layers() -> tuple[object, ...]:
    return ("--src", "dyck:seed0@0,1", "--dst", "dyck:seed1@1", *PAIR[4:])


ALLOWED = {
    "moments.py": {"explained_variance"},  # a function of the field's name
    "pipeline/plan/groups.py": {"ridge"},  # the default of --map
    "face/explain.py": {"nla"},  # the same in Python
    "cli/verbalizer.py": {"nla"},  # the default of --verbalizer
    "rehearsable/single.py": {"nla"},  # the same
    "pipeline/transfer/sae.py": {"saelens", "ev"},  # the layout that transferred dictionaries are written in; EV below
    "pipeline/transfer/held_out.py": {"ev"},  # what `transfer` itself measures of what it wrote
    "cli/transfer.py": {"ev"},
    "models/gguf_config.py": {"gemma2", "gemma3"},  # what GGUF calls the architectures
    "models/gguf_model.py": {"gemma4"},  # likewise
    "pipeline/transfer/origins.py": {"gpt2", "llama"},  # how other people's files write the names of models
}
"""Names of our plugins that core may hold, and why."""

WORDS = {
    "transformers",
    "reading",
    "cosine",
    "identity",
    "rotation",
    "lift",
    "topics",
    "distinct",
    "matched",
    "flagged",
    "pairing",
}
"""Names that are English words, the field's or a library's: as whole strings only where they mean the plugin."""


def test_core_names_no_plugin_and_none_of_its_numbers() -> None:
    ours = {name for plugin in plugins() if plugin["distribution"] == FIRST_PARTY for name in [plugin["name"]]}
    ours |= {measure.name for scorer in discover().scorers.values() for measure in scorer.measures}
    found = {}
    for path in CORE.rglob("*.py"):
        where = str(path.relative_to(CORE))
        strings = {
            node.value
            for node in ast.walk(ast.parse(path.read_text()))
            if isinstance(node, ast.Constant) and isinstance(node.value, str)
        }
        if named := (strings & ours) - WORDS - ALLOWED.get(where, set()):
            found[where] = sorted(named)
    assert not found
