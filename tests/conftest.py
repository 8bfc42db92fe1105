"""What every test gets: a machine without hub, cache, models or configuration, and tiny random checkpoints."""

from __future__ import annotations

import atexit
import json
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from importlib import resources
from pathlib import Path
from textwrap import dedent

# huggingface_hub reads these once, when it is imported; a fixture would come too late.
_HUB = tempfile.TemporaryDirectory(prefix="bridge-tests-hub-")
atexit.register(_HUB.cleanup)
os.environ.update(HF_HUB_OFFLINE="1", HF_HOME=_HUB.name, HF_HUB_DISABLE_TELEMETRY="1")
os.environ.pop("HF_HUB_CACHE", None)
# Tiny checkpoints are random: tests that are about that take it back.
os.environ["BRIDGE_ALLOW_UNTRAINED"] = "1"
# Tiny matrices: threads that wait for each other cost ten times what they save, most of all on a busy machine.
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
os.environ.update(dict.fromkeys(_THREADS, "1"))

# What was started in the background ignores Ctrl-C, and so do its children: tests of interruption would test nothing.
signal.signal(signal.SIGINT, signal.default_int_handler)

import pytest  # noqa: E402

# Their assertions say as much as those of test files.
pytest.register_assert_rewrite(*(path.stem for path in Path(__file__).with_name("helpers").glob("*.py")))

from bridge.plugins import Registry, discover  # noqa: E402


@pytest.fixture(scope="session")
def registry() -> Registry:
    """Everything that is installed."""
    return discover()


@pytest.fixture(autouse=True)
def isolated(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """Keep a test away from the user's cache, models and configuration; returns the folder that stands in for them."""
    home = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("BRIDGE_CACHE_DIR", str(home / "cache"))
    monkeypatch.setenv("BRIDGE_CONFIG_DIR", str(home / "config"))
    if "real" in request.keywords:
        import torch

        for name in _THREADS:
            monkeypatch.delenv(name)
        torch.set_num_threads(os.cpu_count() or 1)
    else:
        monkeypatch.setenv("BRIDGE_MODELS_DIR", str(home / "models"))
        # bfloat16 rounds otherwise on every kind of processor: what is not about it is computed in float32.
        monkeypatch.setenv("BRIDGE_DTYPE", "float32")
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("RAY_ADDRESS", "local")  # not a cluster that another test has started on this machine
    for name in ("BRIDGE_DISABLE_PLUGINS", "BRIDGE_ONLY_PLUGINS", "BRIDGE_TRACE_PLUGINS"):
        monkeypatch.delenv(name, raising=False)
    return home


@pytest.fixture(scope="session")
def tiny_models(registry: Registry, tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, list[Path]]:
    """Folders of tiny random checkpoints by family name, one for every real class of the family; do not write there."""
    folder = tmp_path_factory.mktemp("tiny")
    return {name: list(adapter.write_tiny_checkpoints(folder)) for name, adapter in registry.models.items()}


@pytest.fixture(scope="session")
def corpus_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A JSON Lines file of 120 documents spread over the bundled corpus."""
    lines = resources.files("bridge").joinpath("data/english.jsonl").read_text(encoding="utf-8").splitlines()
    texts = dict.fromkeys(json.loads(line)["text"] for line in lines)
    chosen = list(texts)[:: len(texts) // 120][:120]
    path = tmp_path_factory.mktemp("corpus") / "corpus.jsonl"
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in chosen), encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def tiny_encoder(tiny_models: Mapping[str, list[Path]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of transformers weights, which sentence-transformers pools by the mean."""
    from transformers import AutoTokenizer

    folder = tmp_path_factory.mktemp("encoder") / "tiny"
    shutil.copytree(tiny_models["gpt2"][0], folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.add_special_tokens({"pad_token": tokenizer.eos_token})
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def warm_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("warm")


@pytest.fixture
def experiment(
    tiny_models: Mapping[str, list[Path]], corpus_file: Path, warm_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> list[str]:
    """Arguments of a small run; its activations are collected once for all tests of a file."""
    monkeypatch.setenv("BRIDGE_CACHE_DIR", str(warm_cache))
    models = ["--src", f"{tiny_models['llama'][0]}@1", "--dst", f"{tiny_models['gemma'][0]}@1"]
    return [*models, "--corpus", str(corpus_file), "--max-documents", "50", "--max-tokens", "48", "--dtype", "float32"]


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Installs packages of one module each, as pip would leave them."""
    site = tmp_path / "site-packages"
    site.mkdir()
    monkeypatch.syspath_prepend(str(site))
    modules: list[str] = []

    def install(distribution: str, code: str, entry: str = "", version: str = "1.0") -> None:
        module = distribution.replace("-", "_")
        modules.append(module)
        (site / f"{module}.py").write_text(dedent(code), encoding="utf-8")
        info = site / f"{module}-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n")
        (info / "entry_points.txt").write_text(f"[bridge]\n{entry or f'maps.{module}'} = {module}\n")
        (info / "RECORD").write_text("")
        monkeypatch.syspath_prepend(str(site))  # forgets what the folder held

    yield install
    for module in modules:
        sys.modules.pop(module, None)
