"""The family keeps the laws of its kind, reads what transformers computes, and refuses what encoders cannot do."""

from pathlib import Path

import numpy as np
import pytest
from bridge_encoder import Encoder

from bridge.corpus import Document
from bridge.errors import UsageError
from bridge.models import Placement, TransformersTokenizer, Weights
from bridge.references import Site
from bridge.testing import conformance

test_laws = conformance("models", "encoder")
CPU = Placement("cpu", "float32")


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return list(Encoder().write_tiny_checkpoints(tmp_path_factory.mktemp("tiny")))


def test_sites_are_the_hidden_states_of_transformers(checkpoints: list[Path]) -> None:
    import torch
    from transformers import AutoModel

    ids = torch.tensor([[5, 6, 7, 8, 9], [10, 11, 12, 0, 0]])
    mask = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]])
    for path in checkpoints:
        with torch.inference_mode():
            plain = AutoModel.from_pretrained(path).eval()
            hidden = plain(input_ids=ids, attention_mask=mask, output_hidden_states=True).hidden_states
        model = Encoder().load(Weights(str(path)), CPU)
        read = model.activations(ids, mask, [Site(layer) for layer in range(3)])
        for layer, rows in enumerate(read):
            torch.testing.assert_close(rows[mask == 1], hidden[layer + 1][mask == 1])


def test_tokens_see_what_comes_later_and_never_the_padding(checkpoints: list[Path]) -> None:
    import torch

    ids = torch.tensor([[5, 6, 7, 8], [5, 6, 7, 9], [5, 6, 7, 0]])
    mask = torch.tensor([[1, 1, 1, 1], [1, 1, 1, 1], [1, 1, 1, 0]])
    for path in checkpoints:
        model = Encoder().load(Weights(str(path)), CPU)
        (rows,) = model.activations(ids, mask, [Site(2)])
        assert (rows[0, 0] - rows[1, 0]).abs().max() > 1e-4
        (alone,) = model.activations(ids[2:, :3], mask[2:, :3], [Site(2)])
        torch.testing.assert_close(rows[2:, :3], alone)


def test_the_longest_text_fits(checkpoints: list[Path]) -> None:
    import torch

    for path, longest in zip(checkpoints, (130, 128), strict=True):
        weights = Weights(str(path))
        assert Encoder().describe(weights).max_tokens == longest
        ids = torch.full((1, longest), 7)
        (rows,) = Encoder().load(weights, CPU).activations(ids, torch.ones_like(ids), [Site(0)])
        assert rows.shape == (1, longest, 32)


def test_there_is_no_next_token(checkpoints: list[Path]) -> None:
    import torch

    weights = Weights(str(checkpoints[0]))
    assert not Encoder().describe(weights).causal
    model = Encoder().load(weights, CPU)
    ids = torch.tensor([5, 6, 7])
    for refused in (lambda: model.logits(ids[None], ids[None]), lambda: model.generate([ids.numpy()], 1)):
        with pytest.raises(UsageError, match="predicts no next token"):
            refused()


def test_the_marks_around_a_text_stand_for_none_of_it() -> None:
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    pieces = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "cafe", "na", "##ive", ".")
    backend = Tokenizer(models.WordPiece({piece: index for index, piece in enumerate(pieces)}, unk_token="[UNK]"))
    backend.normalizer = normalizers.BertNormalizer(lowercase=True)
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    marks = {"unk_token": "[UNK]", "pad_token": "[PAD]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    tokenizer = TransformersTokenizer(PreTrainedTokenizerFast(tokenizer_object=backend, **marks), "tiny")
    (encoded,) = tokenizer.encode([Document("Café naïve 🙂.", "")], 16)
    np.testing.assert_array_equal(encoded.ids, [2, 4, 5, 6, 1, 7, 3])
    # A piece that the vocabulary does not know says nothing of its characters: it is not paired.
    np.testing.assert_array_equal(encoded.ends, [-1, 4, 7, 10, -1, 13, -1])
