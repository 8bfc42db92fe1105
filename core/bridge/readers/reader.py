"""The description of a reader: injection, prompt, weights, sampling, parsing of answers, and reconstruction."""

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
"""The fields in prompts that are filled in."""


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Whitening:
    """Stored statistics for whitening vectors: (v - mean) / scale.

    Attributes:
        mean: (d_model,) float32.
        scale: (d_model,) float32, without zeros.
    """

    mean: NDArray[np.float32]
    scale: NDArray[np.float32]


@final
@dataclass(frozen=True, kw_only=True)
class Injection:
    """Where and how a vector is injected, and its length.

    Let v be the vector after whitening and map, and h the activation at the placeholder. The injection replaces h by u
    (`replace`) or by h + u (`add`), where u is `times` v (`raw`), or `times` L v/|v| with L a number, sqrt(d)
    (`sqrt_d`) or |h| (`place`).

    Attributes:
        block: The block whose output is changed at the placeholder, from 0 (`hidden_states[block + 1]`). None for the
            placeholder's embedding, as returned by the embedding module.
        how: Whether the vector replaces the activation or is added to it.
        length: A number, `raw`, `sqrt_d` or `place`.
        times: Factor of the length.
        whitening: Statistics for whitening the vector first.
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
        role: Role in the chat template (`system`, `user`).
        content: Text with the fields `{vectors}`, `{question}` and `{layer}`; other braces have no meaning.
    """

    role: str = "user"
    content: str


@final
@dataclass(frozen=True, kw_only=True)
class Prompt:
    """The prompt into which vectors are injected.

    Attributes:
        messages: One of them has `{vectors}`, once.
        chat: Whether the messages are encoded with the tokenizer's chat template and its generation prompt. If not,
            their contents are encoded as one plain text with special tokens.
        template_options: Options of the chat template, such as `enable_thinking`.
        placeholder: Text of a single token that is written for each vector.
        token_id: Id of this token; None if the files do not state it.
        neighbours: Ids of the tokens before and after it, for prompts with one placeholder.
        several: Whether a prompt takes several vectors, with adjacent placeholders.
        answer_prefix: Beginning of the answer, written after the generation prompt.
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
                f"The prompt {text[:200]!r} needs {VECTORS} once, at most one {QUESTION}, and a placeholder.",
                cause="The reader's files are damaged, or have another format.",
            )

    @property
    def asks(self) -> bool:
        """Whether the prompt takes a question."""
        return any(QUESTION in message.content for message in self.messages)


@final
@dataclass(frozen=True, kw_only=True)
class Adapter:
    """A low-rank adapter in safetensors, added to a base model at run time and never merged into it.

    Attributes:
        file: The tensors, with the names that peft uses (`...lora_A.weight`).
        config: Fields of `peft.LoraConfig`, as in `adapter_config.json`.
        base: Name of the base model that it was trained on, as its authors wrote it.
        beside: Names of tensors in the file that do not belong to the adapter, such as a head.
    """

    file: Path
    config: Mapping[str, Any]
    base: str = ""
    beside: tuple[str, ...] = ()


@final
@dataclass(frozen=True, kw_only=True)
class Weights:
    """The weights of a reader or of its reconstructor: either a full checkpoint or an adapter.

    Attributes:
        folder: Folder of the full checkpoint; None for an adapter.
        adapter: The adapter; None for a full checkpoint.
        tokenizer: Folder of the tokenizer; None for the tokenizer of the checkpoint or base model.
    """

    folder: Path | None = None
    adapter: Adapter | None = None
    tokenizer: Path | None = None

    def __post_init__(self) -> None:
        if (self.folder is None) == (self.adapter is None):
            raise BridgeError("The weights of a reader are either a full checkpoint or an adapter.")


@final
@dataclass(frozen=True, kw_only=True)
class Affine:
    """An affine map in a safetensors file: x weight^T + bias.

    Attributes:
        file: The file.
        weight: Name of the matrix, (d_out, d_in).
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
    """A map that is applied to a vector before the injection: one affine map, or several with an activation between.

    Attributes:
        layers: The affine maps, in order.
        activation: Activation function between them.
        tokens: Number of vectors in the output, concatenated; each has its own placeholder.
    """

    layers: tuple[Affine, ...]
    activation: Literal["gelu", "relu", "silu", "tanh"] = "gelu"
    tokens: int = 1


@final
@dataclass(frozen=True, kw_only=True)
class Answer:
    """How an answer is parsed.

    Attributes:
        rule: `tags`: the text between two tags. `bullets`: the lines that begin with a bullet. `free`: the whole text.
        tags: The opening and the closing tag; the opening tag is empty if the prompt ends with it.
        bullet: Beginning of a line with a bullet.
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
    """Default options for writing answers.

    Attributes:
        max_new_tokens: Token limit of an answer.
        temperature: Sampling temperature; 0 always takes the most likely token.
        samples: Number of answers for each vector.
    """

    max_new_tokens: int = 200
    temperature: float = 0.0
    samples: int = 1


@final
@dataclass(frozen=True, kw_only=True)
class Reconstruction:
    """The reconstructor: a linear head on a block's output at the last token of a prompt with an explanation.

    Attributes:
        d_model: Width of the reconstructed vectors.
        site: Site of these vectors, as for a reader; empty if the files do not name it.
        weights: A checkpoint that ends after the block that is read, or an adapter on the reader's base model.
        block: The block whose output is read, from 0; None for the last block of a full checkpoint.
        norm_stripped: Whether the output is read before the final norm.
        length: Length to which the output is scaled before the head; None for no scaling.
        template: The prompt, with `{explanation}` once.
        special_tokens: Whether the prompt is encoded with the tokenizer's special tokens.
        suffix: Ids of the tokens that the prompt must end with.
        head: The head; the name of the weight may be empty if the file has only one matrix.
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
    """A reader of activations, as its files describe it: pure data.

    Attributes:
        d_model: Width of the vectors that it reads; 0 if its small files do not state it.
        sites: Sites that its vectors were read at, in any notation of `bridge.references.parse_site`: `20` is the
            output of block 20, `hidden_states[21]`. Empty if the files name none.
        model: Name of the model whose activations it reads, as its authors wrote it.
        weights: Weights of the reader.
        prompt: The prompt into which vectors are injected.
        injection: Where and how vectors are injected.
        alternatives: Other injections that the files leave possible; the option `inject` or a probe decides.
        vector_map: A map that is applied to vectors before the injection.
        answer: How answers are parsed.
        sampling: Default options for writing answers.
        reconstruction: The reconstructor, if there is one.
        notes: Sentences that a user must know about how the files are read.
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
