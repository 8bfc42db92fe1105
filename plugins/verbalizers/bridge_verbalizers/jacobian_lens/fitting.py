"""Fit a lens over texts, save finished texts, and merge lenses."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from bridge.errors import BridgeError, UsageError
from bridge.progress import Progress
from bridge.verbalizers import LensRecipe, LensSubject
from bridge_verbalizers.jacobian_lens.estimator import Estimator
from bridge_verbalizers.jacobian_lens.lens_file import LensRecord, Sums, read_record, read_sum, write_lens

SHARE = 0.1
"""Maximal share of a fit's time for saving finished texts."""

ENCODED = 256
"""Number of documents tokenized at once."""

Ids = NDArray[np.int64]


def fit(subject: LensSubject, recipe: LensRecipe, out: Path, progress: Progress) -> dict[str, Any]:
    """Fit a lens and write it; see `VerbalizerBackend.fit_lens`."""
    texts = _texts(subject, recipe)
    state = _State(subject, recipe, out)
    done = state.resume([prompt for prompt, _ in texts])
    if done:
        progress.note(f"{done} of {len(texts)} texts were finished before.")
    estimator = Estimator(subject.model, recipe.layers, recipe.skip, int(recipe.memory * 1e9))
    width = subject.model.d_model
    with progress.stage(f"fit lens of {subject.name}", (len(texts) - done) * width, "gradients") as advance:
        for number, (prompt, ids) in enumerate(texts[done:]):
            start = time.monotonic()
            state.add(prompt, len(ids) - 1 - recipe.skip, estimator.jacobians(ids, advance))
            if not number:
                left = (time.monotonic() - start) * (len(texts) - done - 1)
                progress.note(f"A text takes {time.monotonic() - start:.1f} s; the others need about {_time(left)}.")
    return state.finish()


def merge(parts: Sequence[Path], out: Path) -> dict[str, Any]:
    """Merge lenses; see `VerbalizerBackend.merge_lenses`."""
    records = [read_record(path) for path in parts]
    first = records[0]
    for path, record in zip(parts[1:], records[1:], strict=True):
        if differing := first.differences(record):
            raise BridgeError(
                f"{parts[0]} and {path} are not parts of one lens: they differ in {', '.join(differing)}.",
                remedy="Fit all parts with the same options but --part.",
            )
    prompts = [prompt for record in records for prompt in record.prompts]
    if len(set(prompts)) < len(prompts):
        raise BridgeError(
            f"{len(prompts) - len(set(prompts))} texts are in more than one of these lenses.",
            cause="They would count twice.",
            remedy="Fit the parts on different texts: --part 1/2 and --part 2/2.",
        )
    corpora = sorted({record.corpus for record in records})
    merged = LensRecord(
        **{name: getattr(first, name) for name in ("model", "weights", "d_model", "n_layers", "layers")},
        **{name: getattr(first, name) for name in ("skip", "max_tokens", "dtype")},
        corpus=" ".join(corpora),
        prompts=tuple(prompts),
        positions=sum(record.positions for record in records),
    )
    sums: Sums = {}
    for layer in first.layers:
        sums[layer] = sum(
            (read_sum(path, record, layer) for path, record in zip(parts, records, strict=True)),
            np.zeros((first.d_model,) * 2),
        )
    write_lens(out, sums, merged)
    return merged.said()


def _texts(subject: LensSubject, recipe: LensRecipe) -> list[tuple[str, Ids]]:
    """Return this part's distinct texts, each with a hash of its ids: the first texts with a valid position."""
    found = dict(_long_enough(subject, recipe))
    number, count = recipe.share()
    part = list(found.items())[number - 1 :: count]
    if not part:
        raise UsageError(
            f"No text is left for part {recipe.part}: {len(found)} of the corpus have {recipe.skip + 2} tokens.",
            remedy="Give longer texts, skip fewer positions, or make fewer parts.",
        )
    return part


def _long_enough(subject: LensSubject, recipe: LensRecipe) -> Iterator[tuple[str, Ids]]:
    seen: set[str] = set()
    for start in range(0, len(subject.documents), ENCODED):
        for encoded in subject.model.encode(subject.documents[start : start + ENCODED], recipe.max_tokens):
            ids = np.ascontiguousarray(encoded.ids, dtype=np.int64)
            prompt = hashlib.sha256(ids.tobytes()).hexdigest()[:16]
            if len(ids) >= recipe.skip + 2 and prompt not in seen:
                seen.add(prompt)
                yield prompt, ids
            if len(seen) == recipe.prompts:
                return


@final
class _State:
    """The sums of finished texts, and the file that stores them until the fit is finished."""

    def __init__(self, subject: LensSubject, recipe: LensRecipe, out: Path) -> None:
        width, model = subject.model.d_model, subject.model
        dtype = str(next(model.module.parameters()).dtype).removeprefix("torch.")
        self._record = LensRecord(
            *(subject.name, subject.weights, width, model.n_layers, recipe.layers, recipe.skip, recipe.max_tokens),
            *(dtype, subject.corpus),
        )
        self._sums: Sums = {layer: np.zeros((width, width)) for layer in recipe.layers}
        self._out, self._unfinished = out, out.with_name(f"{out.name}.unfinished")
        self._written, self._took = time.monotonic(), 0.0

    def resume(self, prompts: Sequence[str]) -> int:
        """Continue an interrupted fit from its file; return the number of finished texts.

        Raises:
            UsageError: If the file belongs to another fit.
        """
        if not self._unfinished.is_file():
            return 0
        kept = read_record(self._unfinished)
        differing = self._record.differences(kept)
        differing += ["corpus"] if list(kept.prompts) != list(prompts[: len(kept.prompts)]) else []
        if differing:
            raise UsageError(
                f"{self._unfinished} is of another fit: it differs in {', '.join(differing)}.",
                cause="A fit with other options was interrupted.",
                remedy="Repeat that command, delete the file, or choose another --out.",
            )
        self._sums = {layer: read_sum(self._unfinished, kept, layer) for layer in kept.layers}
        self._record = kept
        return len(kept.prompts)

    def add(self, prompt: str, positions: int, jacobians: dict[int, NDArray[np.float32]]) -> None:
        """Add a text's Jacobians, and save the sums if saving is cheap compared with computing them."""
        for layer, matrix in jacobians.items():
            self._sums[layer] += matrix
        self._record = self._record.with_prompt(prompt, positions)
        start = time.monotonic()
        if self._took <= SHARE * (start - self._written):
            write_lens(self._unfinished, self._sums, self._record)
            self._written = time.monotonic()
            self._took = self._written - start

    def finish(self) -> dict[str, Any]:
        """Write the lens."""
        write_lens(self._out, self._sums, self._record)
        self._unfinished.unlink(missing_ok=True)
        return self._record.said()


def _time(seconds: float) -> str:
    return (
        f"{seconds:.0f} s"
        if seconds < 120
        else f"{seconds / 60:.0f} min"
        if seconds < 7200
        else f"{seconds / 3600:.1f} h"
    )
