"""What a reader is: data that says where a vector goes in, in which prompt of which model, and what its text means."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, final

import numpy as np
from numpy.typing import NDArray

from bridge.errors import BridgeError

Length = float | Literal["raw", "sqrt_d", "place"]
VECTORS, QUESTION, LAYER, EXPLANATION = "{vectors}", "{question}", "{layer}", "{explanation}"
"""The holes of prompts."""


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Whitening:
    """Stored statistics that vectors are whitened by: (v - mean) / scale.

    Attributes:
        mean: (d_model,) float32.
        scale: (d_model,) float32, none of zero.
    """

    mean: NDArray[np.float32]
    scale: NDArray[np.float32]


@final
@dataclass(frozen=True, kw_only=True)
class Injection:
    """Where a vector goes in, how, and with which length.

    With v the vector, after whitening and map, and h what stands at the place, the place becomes u (`replace`) or h + u
    (`add`), where u is `times` v (`raw`), or `times` L v/|v| with L a number, sqrt(d) (`sqrt_d`) or |h| (`place`).

    Attributes:
        block: The block whose output is changed at the placeholder, counted from 0 (`hidden_states[block + 1]`). None:
            the placeholder's embedding, as the model's embedding module returns it.
        how: Whether the place is replaced or added to.
        length: A number, `raw`, `sqrt_d` or `place`.
        times: A factor of the length.
        whitening: Statistics that the vector is whitened by first.
    """

    block: int | None = None
    how: Literal["replace", "add"] = "replace"
    length: Length = "raw"
    times: float = 1.0
    whitening: Whitening | None = None


@final
@dataclass(frozen=True, kw_only=True)
class Message:
    """One message of a prompt.

    Attributes:
        role: As the chat template has it (`system`, `user`).
        content: Text with the holes `{vectors}`, `{question}` and `{layer}`; other braces mean themselves.
    """

    role: str = "user"
    content: str


@final
@dataclass(frozen=True, kw_only=True)
class Prompt:
    """The text that the vectors stand in.

    Attributes:
        messages: One of them has `{vectors}`, once.
        chat: Encode by the tokenizer's chat template, with its generation prompt. Otherwise the contents are encoded as
            one plain text with special tokens.
        template_options: For the chat template, as in `enable_thinking`.
        placeholder: What stands for one vector, a single token.
        token_id: Which token that is; None where the files do not say.
        neighbours: The tokens before and after it; the placeholder then stands in the prompt once.
        several: Whether a prompt takes several vectors, one placeholder after the other without anything between.
        answer_prefix: Text that the answer begins with, written after the generation prompt.
    """

    messages: tuple[Message, ...]
    chat: bool = True
    template_options: Mapping[str, Any] = field(default_factory=dict)
    placeholder: str
    token_id: int | None = None
    neighbours: tuple[int, int] | None = None
    several: bool = False
    answer_prefix: str = ""

    def __post_init__(self) -> None:
        text = "".join(message.content for message in self.messages)
        if text.count(VECTORS) != 1 or text.count(QUESTION) > 1 or not self.placeholder:
            raise BridgeError(
                f"The prompt {text[:200]!r} has not {VECTORS} once, {QUESTION} once at most, and a placeholder.",
                cause="The reader's files are damaged, or of another format.",
            )

    @property
    def asks(self) -> bool:
        """Whether it has a hole for a question."""
        return any(QUESTION in message.content for message in self.messages)


@final
@dataclass(frozen=True, kw_only=True)
class Adapter:
    """A low-rank adapter in safetensors, put on a base model and never merged into it.

    Attributes:
        file: The tensors, named as peft names them (`...lora_A.weight`).
        config: Fields of `peft.LoraConfig`, as `adapter_config.json` has them.
        base: The base model that it was trained on, as its authors wrote it.
        beside: Names of tensors in the file that are not the adapter's, as of a head.
    """

    file: Path
    config: Mapping[str, Any]
    base: str = ""
    beside: tuple[str, ...] = ()


@final
@dataclass(frozen=True, kw_only=True)
class Weights:
    """The weights of a reader, or of its reconstructor.

    Attributes:
        folder: A whole checkpoint; None where the weights are an adapter on a base model.
        adapter: The adapter, where there is one.
        tokenizer: Folder of the tokenizer; None for the checkpoint's or the base model's.
    """

    folder: Path | None = None
    adapter: Adapter | None = None
    tokenizer: Path | None = None

    def __post_init__(self) -> None:
        if (self.folder is None) == (self.adapter is None):
            raise BridgeError("The weights of a reader are a whole checkpoint, or an adapter on a base model.")


@final
@dataclass(frozen=True, kw_only=True)
class Affine:
    """A matrix in a safetensors file, and maybe what is added after it: x weight^T + bias.

    Attributes:
        file: The file.
        weight: Name of the matrix, (d_out, d_in), as torch keeps it.
        bias: Name of the bias, (d_out,); empty for none.
        transposed: Whether the matrix is stored as (d_in, d_out).
    """

    file: Path
    weight: str = "weight"
    bias: str = ""
    transposed: bool = False


@final
@dataclass(frozen=True, kw_only=True)
class VectorMap:
    """What a vector goes through before it is injected: linear, or layers with an activation between them.

    Attributes:
        layers: Applied in this order.
        activation: Between layers.
        tokens: How many vectors it gives for one, side by side in its output; each takes a placeholder.
    """

    layers: tuple[Affine, ...]
    activation: Literal["gelu", "relu", "silu", "tanh"] = "gelu"
    tokens: int = 1


@final
@dataclass(frozen=True, kw_only=True)
class Answer:
    """How an answer is parsed.

    Attributes:
        rule: `tags`: the text between two tags. `bullets`: the lines that begin with a bullet. `free`: all of it.
        tags: The opening and the closing tag; the opening one is empty where the prompt ends with it.
        bullet: What a line begins with.
        special_tokens: Whether special tokens within an answer stay in its text. If not, they are left out and the text
            after them is kept, as by `skip_special_tokens=True`; tags and placeholder stay.
    """

    rule: Literal["tags", "bullets", "free"] = "free"
    tags: tuple[str, str] = ("<explanation>", "</explanation>")
    bullet: str = "- "
    special_tokens: bool = False


@final
@dataclass(frozen=True, kw_only=True)
class Sampling:
    """What is used where the user says nothing.

    Attributes:
        max_new_tokens: How many tokens an answer may have.
        temperature: Of sampling; 0 always takes the likeliest token.
        samples: How many answers are drawn of a vector.
    """

    max_new_tokens: int = 200
    temperature: float = 0.0
    samples: int = 1


@final
@dataclass(frozen=True, kw_only=True)
class Reconstruction:
    """The way back: what a model holds at the last token of a text's prompt, through a linear head.

    Attributes:
        d_model: Width of the vectors that it gives.
        site: Where those vectors were read, as for a reader; empty where its files do not say.
        weights: A whole checkpoint, cut after the block that is read; or an adapter on the reader's base model.
        block: The block whose output is read, counted from 0; None for the last one of a whole checkpoint.
        norm_stripped: Whether the output is read before the final norm.
        length: Length that the output is given before the head; None leaves its own.
        template: The prompt, with `{explanation}` once.
        special_tokens: Whether the prompt is encoded with the tokenizer's special tokens.
        suffix: Tokens that the prompt must end with.
        head: The head; the weight's name may be empty where the file holds one matrix.
    """

    d_model: int
    site: str = ""
    weights: Weights
    block: int | None = None
    norm_stripped: bool = True
    length: float | None = None
    template: str
    special_tokens: bool = True
    suffix: tuple[int, ...] = ()
    head: Affine


@final
@dataclass(frozen=True, kw_only=True)
class Reader:
    """A reader of activations, as its files describe it; nothing in it runs.

    Attributes:
        d_model: Width of the vectors that it reads; 0 where its small files do not say.
        sites: Where its vectors were read, in any notation of `bridge.references.parse_site`: `20` is the output of
            block 20, `hidden_states[21]`. Several for one that reads several layers; none where the files do not say.
        model: The model whose activations it reads, as its authors wrote it.
        weights: Its own weights.
        prompt: The text that the vectors stand in.
        injection: Where and how they go in.
        alternatives: Other ways in, which its files do not rule out: the option `inject` decides, or a probe.
        vector_map: What they go through before.
        answer: How what it writes is parsed.
        sampling: What is used where the user says nothing.
        reconstruction: Its reconstructor, where there is one.
        notes: What a user must know of how the files are read, a sentence each.
    """

    d_model: int
    sites: tuple[str, ...] = ()
    model: str = ""
    weights: Weights
    prompt: Prompt
    injection: Injection
    alternatives: tuple[Injection, ...] = ()
    vector_map: VectorMap | None = None
    answer: Answer = Answer()
    sampling: Sampling = Sampling()
    reconstruction: Reconstruction | None = None
    notes: tuple[str, ...] = ()
