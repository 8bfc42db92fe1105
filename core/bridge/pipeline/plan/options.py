"""All options of a run in one record, which the command line, TOML files and Python fill in."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, final

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic.fields import FieldInfo

from bridge.errors import UsageError
from bridge.files.toml import read_toml as read_table
from bridge.pipeline.plan.groups import (
    CorpusOptions,
    DictionaryOptions,
    Group,
    MapOptions,
    ModelOptions,
    RunOptions,
    ScoreOptions,
    VerbalizeOptions,
)
from bridge.pipeline.plan.specs import describe_errors

WRITTEN = (
    *("src", "dst", "map", "corpus", "corpus_sha256", "src_identity", "dst_identity", "max_documents", "max_tokens"),
    *("skip", "outlier_factor", "split", "held_out", "folds", "seed", "device", "dtype", "quantize", "dictionary"),
    *("features", "allow_other_model", "allow_untrained"),
    *("positions", "features_of", "src_verbalizer", "dst_verbalizer", "washout", "encoder", "batch_size"),
    *("src_activations", "dst_activations", "engine"),
)
"""The order of options in records and `config.toml`."""


LATER = ("quantize",)
"""Options that are newer than stores and folders of results, and are no part of their keys at the default."""


@final
class Options(BaseModel):
    """Options of a run, in groups. Their public form is flat; `config.toml` in a run folder holds exactly these."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    models: ModelOptions
    corpus: CorpusOptions
    map: MapOptions
    dictionary: DictionaryOptions
    verbalize: VerbalizeOptions
    score: ScoreOptions
    run: RunOptions

    def flat(self) -> dict[str, Any]:
        """Return every option under its public name, in the order of records."""
        groups = (getattr(self, name) for name in type(self).model_fields)
        found = {name: value for group in groups for name, value in group.model_dump(by_alias=True).items()}
        return {name: found[name] for name in WRITTEN}

    def experiment(self) -> dict[str, Any]:
        """Return every option but the engine: it is where an experiment runs, and another one may continue it."""
        return {name: value for name, value in self.flat().items() if name != "engine"}

    def keyed(self) -> dict[str, Any]:
        """Return the options that a key is made of: as `experiment`, without newer options at their defaults."""
        where = declared()
        found = self.experiment()
        return {name: found[name] for name in found if name not in LATER or found[name] != where[name][2].default}

    def given(self, name: str) -> bool:
        """Tell whether an option was set, rather than left at its default."""
        group, attribute, _ = declared()[name]
        return attribute in getattr(self, group).model_fields_set

    def updated(self, **changes: Any) -> Options:
        """Return a copy with some options changed, by public name; other options at their default stay unset."""
        where = declared()
        groups: dict[str, dict[str, Any]] = {}
        for name, value in changes.items():
            group, attribute, _ = where[name]
            groups.setdefault(group, {})[attribute] = value
        return self.model_copy(
            update={group: getattr(self, group).model_copy(update=some) for group, some in groups.items()}
        )


def declared() -> dict[str, tuple[str, str, FieldInfo]]:
    """Return the group, the attribute and the declaration of every option, by its public name."""
    groups = {name: _group(name) for name in Options.model_fields}
    return {
        field.alias or attribute: (name, attribute, field)
        for name, group in groups.items()
        for attribute, field in group.model_fields.items()
    }


def _group(name: str) -> type[Group]:
    kind = Options.model_fields[name].annotation
    assert isinstance(kind, type) and issubclass(kind, Group)
    return kind


def make_options(**given: Any) -> Options:
    """Validate options; options that are None keep their defaults.

    Raises:
        UsageError: If an option is unknown or has an invalid value.
    """
    where = declared()
    values = {key: os.fspath(value) if isinstance(value, os.PathLike) else value for key, value in given.items()}
    faults = [f"{name}: no such option" for name in values if name not in where]
    faults += [
        f"{name}: {value!r} is not text in UTF-8, as records need it"
        for name, value in values.items()
        if _is_odd(value)
    ]
    groups: dict[str, dict[str, Any]] = {group: {} for group in Options.model_fields}
    for name, value in values.items():
        if name in where and value is not None:
            groups[where[name][0]][name] = value
    checked: dict[str, Any] = {}
    for group, some in groups.items():
        try:
            checked[group] = _group(group).model_validate(some)
        except ValidationError as error:
            faults.append(describe_errors(error))
    if faults:
        raise UsageError(
            f"The options are invalid: {'; '.join(faults)}.", remedy=f"Known options: {', '.join(WRITTEN)}."
        )
    return Options(**checked)


def _is_odd(value: Any) -> bool:
    """Tell whether a text holds lone surrogates: bytes of a file name that are no UTF-8, or halves of a character."""
    return isinstance(value, str) and not value.isascii() and any("\ud800" <= one <= "\udfff" for one in value)


def read_toml(path: Path) -> dict[str, Any]:
    """Read an experiment file.

    Raises:
        UsageError: If the file is missing or not TOML.
    """
    try:
        return read_table(path)
    except (OSError, ValueError) as error:
        raise UsageError(f"{path} is not a readable TOML file ({error}).") from error
