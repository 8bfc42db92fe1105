"""What the pages tell people to type is typed: every ```bash and ```python block, page by page, in an empty folder.

A block that needs a hub, weights or a GPU is left out by the line before it, which says why:

    <!-- skip: next "needs the weights of make models" -->

A ```python block whose first line is a comment with a path (`# bridge-my-map/bridge_my_map/__init__.py`) is written to
that file. A ```text block is what the blocks before it print, or a part of it: every word of it, numbers aside, must be
there; text that models write is in ```console blocks instead, since another CPU may write another word. `pip` installs
into an environment of the page's own, which sees everything that is installed here.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterable, Iterator
from pathlib import Path
from unittest import SkipTest

import pytest

sybil = pytest.importorskip("sybil", reason="the extra `docs` is not installed")
from sybil.evaluators.python import PythonEvaluator  # noqa: E402
from sybil.parsers.markdown import CodeBlockParser, SkipParser  # noqa: E402

from bridge.plugins import KINDS  # noqa: E402

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(ROOT.glob("docs/**/*.md"))]
HOST = Path(pytest.__file__).parents[1]
PRINTED = "printed on this page"
INSTALL = "--quiet --no-index --no-deps --no-build-isolation"
SHIMS = {
    "bridge": "{env}/python -c 'import sys; from bridge.cli import main; main(sys.argv[1:])' \"$@\"",
    "pytest": '{env}/python -m pytest -p no:cacheprovider "$@"',
    "pip": f'{sys.executable} -m pip --python {{env}}/python "$@" {INSTALL}',
}


def bash(example: sybil.Example) -> str | None:
    """Run a block in the page's folder; return what went wrong."""
    command = ["bash", "-euo", "pipefail", "-c", example.parsed]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    example.namespace.setdefault(PRINTED, []).append(done.stdout)
    return f"Exit code {done.returncode}:\n{done.stdout}" if done.returncode else None


def text(example: sybil.Example) -> str | None:
    """Look for the words of a block in what was printed on the page before it, if anything was."""
    printed = "\n".join(example.namespace.get(PRINTED, ()))
    missing = words(example.parsed) - words(printed)
    return f"The page shows what is not printed, {sorted(missing)}:\n{printed}" if printed and missing else None


def words(text: str) -> set[str]:
    """Return the words that have letters and no digits."""
    return {word for word in text.split() if re.search("[^\\W\\d_]", word) and not re.search(r"\d", word)}


def python(example: sybil.Example) -> str | None:
    """Run a block, or write it to the file that its first line names."""
    first, _, rest = example.parsed.partition("\n")
    if not re.fullmatch(r"# [\w./-]+\.py", first):
        with contextlib.redirect_stdout(io.StringIO()) as out:
            failure: str | None = PythonEvaluator()(example)
        example.namespace.setdefault(PRINTED, []).append(out.getvalue())
        return failure
    path = Path(first.removeprefix("# "))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(rest)
    return None


PARSERS = [CodeBlockParser("bash", bash), SkipParser()]
READER = sybil.Sybil([*PARSERS, CodeBlockParser("python", python), CodeBlockParser("text", text)])
README = sybil.Sybil(PARSERS)
"""For the page whose Python is run on stand-ins for the real models, in test_docs.py, and whose output is theirs."""


def examples(page: Path) -> Iterable[sybil.Example]:
    """Return the blocks of a page, those to be skipped among them."""
    return (README if page.name == "README.md" else READER).parse(page).examples()


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty folder to work in, and an environment of its own whose `pip` needs no index."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "env"], check=True)
    (packages,) = (tmp_path / "env").glob("lib/python*/site-packages")
    # Editable installs of this environment are .pth files, which only addsitedir reads.
    (packages / "host.pth").write_text(f"import site; site.addsitedir({str(HOST)!r})\n")
    env = tmp_path / "env" / "bin"
    for name, line in SHIMS.items():
        (env / name).write_text(f"#!/bin/sh\nexec {line.format(env=env)}\n")
        (env / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{env}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("COLUMNS", "160")
    monkeypatch.delenv("PYTHONPATH", raising=False)
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    yield folder


@pytest.mark.docs
@pytest.mark.parametrize("page", [page for page in PAGES if any(examples(page))], ids=lambda page: page.stem)
def test_page(page: Path, elsewhere: Path) -> None:
    for example in examples(page):
        with contextlib.suppress(SkipTest):
            example.evaluate()


def test_the_tutorials_and_every_kind_of_plugin_are_run() -> None:
    for page in ROOT.glob("docs/tutorials/*.md"):
        assert any(examples(page)), page
    sections = re.findall(r"^### .*`(\w+)`$", (ROOT / "CONTRIBUTING.md").read_text(), re.MULTILINE)
    assert set(sections) >= set(KINDS)
    blocks = [example.parsed for example in examples(ROOT / "CONTRIBUTING.md")]
    for kind in KINDS:
        assert any(f"bridge new-plugin {kind} " in block for block in blocks)


def test_the_tutorial_shows_what_plain_bridge_run_does() -> None:
    page = (ROOT / "docs/tutorials/foreign-verbalizers.md").read_text()
    (shown,) = re.findall(r"^```toml\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    assert tomllib.loads(shown) == tomllib.loads((ROOT / "core/bridge/data/demo.toml").read_text())
