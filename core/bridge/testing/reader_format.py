"""The laws of reader formats."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from bridge.errors import BridgeError
from bridge.readers import Reader, ReaderFormat, ReaderStandIn
from bridge.testing.laws import Laws

WEIGHTS = ("*.safetensors", "*.bin", "*.pt", "*.gguf")
WIDTH = 32
"""Width of the stand-in that is tried."""


def check_reader_format(fmt: ReaderFormat, folder: Path) -> None:
    """Try the laws of `bridge.readers` on one format, and on one reader in it. Nothing is run.

    Args:
        fmt: The instance that the plugin registers.
        folder: A reader in this format, or its small files; it is read only.

    Raises:
        ConformanceError: If a law is broken.
    """
    laws = Laws(f"The reader format {fmt.name}", "bridge.readers.ReaderFormat")
    with tempfile.TemporaryDirectory() as elsewhere:
        law = "a format recognises its own folders and no empty one"
        laws.require(fmt.recognises(folder) is True, law, str(folder), "it is not recognised")
        laws.require(fmt.recognises(Path(elsewhere)) is False, law, "an empty folder", "it is recognised")
        described = fmt.describe(folder)
        law = "describe returns a bridge.readers.Reader"
        laws.require(isinstance(described, Reader), law, str(folder), f"{type(described).__name__} came back")
        law = "the same folder gives the same description"
        wanted, again = _said(described, folder), _said(fmt.describe(folder), folder)
        laws.require(wanted == again, law, str(folder), f"first {wanted}, then {again}")
        light = Path(elsewhere) / "light"
        shutil.copytree(folder, light, ignore=shutil.ignore_patterns(*WEIGHTS))
        _check_light(laws, fmt, light, wanted)
        _check_damage(laws, fmt, light, Path(elsewhere), wanted)
        _check_stand_in(laws, fmt, Path(elsewhere))


def _check_stand_in(laws: Laws, fmt: ReaderFormat, elsewhere: Path) -> None:
    """Test the stand-in of a reader of a tiny Llama; a format that gives none is not tested."""
    if type(fmt).write_stand_in is ReaderFormat.write_stand_in:
        return
    law, given = (
        "a stand-in is recognised, and has the width and the site that were asked for",
        "a tiny Llama at block 1",
    )
    base, folder = elsewhere / "base", elsewhere / "stand-in"
    _write_llama(base)
    fmt.write_stand_in(folder, ReaderStandIn(base=base, site="1", d_model=WIDTH))
    laws.require(fmt.recognises(folder) is True, law, given, "it is not recognised")
    found = fmt.describe(folder)
    # Formats of adapters whose files do not name the width leave it open.
    told = found.d_model or WIDTH, tuple(site.removesuffix(".resid_post") for site in found.sites)
    laws.require(told == (WIDTH, ("1",)), law, given, f"it is {told[0]} wide, and of {', '.join(told[1]) or 'no site'}")


def _write_llama(folder: Path) -> None:
    from transformers import AutoModelForCausalLM, LlamaConfig

    from bridge.models.tiny_tokenizer import tiny_tokenizer

    sizes = {"hidden_size": WIDTH, "intermediate_size": WIDTH, "num_hidden_layers": 3, "num_attention_heads": 2}
    AutoModelForCausalLM.from_config(LlamaConfig(vocab_size=512, **sizes)).save_pretrained(folder)
    tiny_tokenizer(bos=True).save_pretrained(folder)


def _check_light(laws: Laws, fmt: ReaderFormat, light: Path, wanted: str) -> None:
    law = "weights are neither read nor needed to recognise and describe a reader"
    given, found = "the same folder without its weights", "it is not recognised"
    same = fmt.recognises(light)
    if same:
        try:
            found = _said(fmt.describe(light), light)
            same = found == wanted
        except Exception as error:  # whatever is raised is the finding
            same, found = False, f"{type(error).__name__}: {error}"
    laws.require(same, law, given, found)


def _check_damage(laws: Laws, fmt: ReaderFormat, light: Path, elsewhere: Path, wanted: str) -> None:
    """Cut each small file to half its length: one at least is what the format reads, and refuses."""
    files = {file.relative_to(light) for pattern in fmt.headers for file in light.glob(pattern) if file.is_file()}
    law, refused = "a folder whose description is damaged is refused with a BridgeError", []
    for number, name in enumerate(sorted(files)):
        copy = elsewhere / f"damaged{number}"
        shutil.copytree(light, copy)
        (copy / name).write_bytes((copy / name).read_bytes()[: (copy / name).stat().st_size // 2])
        given = f"{name} cut to half its length"
        try:
            found = _said(fmt.describe(copy), copy)
            # Half a JSON file is none, and half a YAML file may be one that says less.
            whole = found == wanted or name.suffix != ".json"
            laws.require(whole, law, given, f"another reader was described: {found}")
        except BridgeError:
            refused.append(name)
        except Exception as error:  # anything else is the finding
            laws.require(False, law, given, f"{type(error).__name__}: {error}")
    laws.require(bool(refused), law, f"each of {', '.join(map(str, sorted(files)))} cut to half", "none was refused")


def _said(reader: Reader, folder: Path) -> str:
    return repr(reader).replace(str(folder), "FOLDER")
