"""Tiny tokenizers of every kind that checkpoints carry, built in the test with the `tokenizers` library."""

from __future__ import annotations

from typing import Any

from tokenizers import Regex, decoders, models, normalizers, pre_tokenizers, processors, trainers
from tokenizers import Tokenizer as Backend
from transformers import PreTrainedTokenizerFast

LETTERS = (
    "The map between the models is a rotation of the residual stream. Café naïve résumé, Ångström; 한국어 각 값. "
    "Việt Nam tiếng Việt. किताब में क्या है? ภาษาไทย ที่นี่. Ελληνικά άέή. שָׁלוֹם عَرَبِيّ 日本語 が ガ 123 4567 -- 🙂      the "
    "map\n    of\n    the\n    stream "
)
QWEN = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"


def byte_level(
    normalizer: Any = None, *, trim: bool = False, pattern: str = "", eos: bool = False, size: int = 600, **marks: str
) -> PreTrainedTokenizerFast:
    """Return a byte-level BPE tokenizer, as GPT-2's (without a pattern) or Qwen's.

    Args:
        normalizer: Of the backend.
        trim: Have offsets leave white space out, as Pythia's and Llama 3's files do.
        pattern: Where texts are split first.
        eos: Put `</s>` after every text.
        size: Of the vocabulary.
        marks: Special tokens, as `pad_token="."`.
    """
    backend = Backend(models.BPE())
    if normalizer is not None:
        backend.normalizer = normalizer
    whole = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=not pattern)
    split = pre_tokenizers.Split(Regex(pattern), "isolated") if pattern else None
    backend.pre_tokenizer = pre_tokenizers.Sequence([split, whole]) if split else whole
    backend.decoder = decoders.ByteLevel()
    _train(backend, trainers.BpeTrainer, size, initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    steps: list[Any] = [processors.ByteLevel(trim_offsets=trim)]
    if eos:
        steps.append(processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)]))
    backend.post_processor = processors.Sequence(steps)
    return PreTrainedTokenizerFast(tokenizer_object=backend, **marks)


def word_piece() -> PreTrainedTokenizerFast:
    """Return a tokenizer as uncased BERT's: accents and white space are left out, unknown words are one token."""
    backend = Backend(models.WordPiece(unk_token="[UNK]"))
    backend.normalizer = normalizers.BertNormalizer(lowercase=True)
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    _train(backend, trainers.WordPieceTrainer, 400, special=["[UNK]", "[CLS]", "[SEP]"])
    backend.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
    )
    return PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]")


def sentence_piece() -> PreTrainedTokenizerFast:
    """Return a tokenizer as Llama 2's: words begin with a mark that stands for a space, rare characters are bytes."""
    backend = Backend(models.BPE(byte_fallback=True, unk_token="<unk>", fuse_unk=True))
    backend.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    backend.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    octets = [f"<0x{octet:02X}>" for octet in range(256)]
    # Trained on Latin letters alone: others are cut into bytes.
    _train(backend, trainers.BpeTrainer, 500, special=["<unk>", "<s>", "</s>", *octets], text=LETTERS[:90])
    backend.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="<unk>", bos_token="<s>", eos_token="</s>")


def unigram(**options: Any) -> PreTrainedTokenizerFast:
    """Return a tokenizer as T5's, of unigrams."""
    backend = Backend(models.Unigram())
    backend.normalizer = normalizers.NFKC()
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    backend.decoder = decoders.Metaspace()
    _train(backend, trainers.UnigramTrainer, 120, special=["<pad>", "</s>", "<unk>"], unk_token="<unk>")
    return PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="<unk>", pad_token="<pad>", eos_token="</s>")


def _train(
    backend: Backend, kind: Any, size: int, *, special: list[str] | None = None, text: str = "", **more: Any
) -> None:
    trainer = kind(vocab_size=size, special_tokens=special or ["<s>", "</s>"], show_progress=False, **more)
    backend.train_from_iterator([text or LETTERS] * 4, trainer)
