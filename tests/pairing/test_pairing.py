"""Which tokens correspond: equal ends in the same text, whatever the tokenizers."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge.pairing import Encoded, Pairs, pair_document

steady = settings(derandomize=True, deadline=None)


def encoded(ends: list[int], ids: list[int] | None = None) -> Encoded:
    return Encoded(np.array(ids or range(1, len(ends) + 1), dtype=np.int64), np.array(ends, dtype=np.int64))


def rows(pairs: Pairs) -> list[tuple[int, int]]:
    return list(zip(pairs.src.tolist(), pairs.dst.tolist(), strict=True))


@pytest.mark.parametrize(
    ("src", "dst", "skip", "expected"),
    [
        # "the| cat| sat" against "the| c|at| sat"
        pytest.param([3, 7, 11], [3, 5, 7, 11], 0, [(0, 0), (1, 2), (2, 3)], id="one cuts finer"),
        pytest.param([-1, 3, 7], [3, 7, -1], 0, [(0, 0), (1, 1)], id="rows count kept tokens only"),
        pytest.param([-1, 3, -1, 7], [2, 7], 0, [(1, 1)], id="a special in the middle"),
        pytest.param([3, 7, 11], [2, 3, 7, 11], 1, [(1, 2), (2, 3)], id="skip counts each model's own tokens"),
        pytest.param([3, 7, 11], [1, 2, 3, 7, 11], 4, [], id="skip past the shorter one"),
        pytest.param([1, 3], [2, 4], 0, [], id="nothing in common"),
        # "a🙂b": the emoji is one token for the left and four byte tokens for the right
        pytest.param([1, 2, 3], [1, 2, 2, 2, 2, 3], 0, [(0, 0), (1, 4), (2, 5)], id="the last byte stands for all"),
        pytest.param([1, 2, 2, 3], [1, 2, 2, 2, 2, 3], 0, [(0, 0), (2, 4), (3, 5)], id="bytes on both sides"),
        pytest.param([1, 2, 2, 2, 2], [2], 0, [(4, 0)], id="bytes at the end"),
        pytest.param([-1], [1, 2], 0, [], id="no text on one side"),
        pytest.param([], [], 0, [], id="nothing at all"),
    ],
)
def test_written_cases(src: list[int], dst: list[int], skip: int, expected: list[tuple[int, int]]) -> None:
    left = encoded(src, [100 + i for i in range(len(src))])
    assert rows(pair_document(left, encoded(dst), skip)) == expected


def test_eligible_counts_text_tokens_after_skip() -> None:
    pairs = pair_document(encoded([-1, 1, 2, 3, 4, -1]), encoded([2, 4]), 1)
    assert (pairs.eligible_src, pairs.eligible_dst) == (3, 1)
    pairs = pair_document(encoded([-1, 1]), encoded([1]), 8)
    assert (pairs.eligible_src, pairs.eligible_dst) == (0, 0)


@st.composite
def documents(draw: st.DrawFn, text: str | None = None) -> Encoded:
    """Cut a text somewhere; characters of several bytes may become several tokens of one end; BOS, EOS, truncation."""
    content = draw(st.text("ab é🙂", min_size=1, max_size=25)) if text is None else text
    cuts = draw(st.sets(st.integers(1, len(content)))) | {len(content)}
    ends: list[int] = []
    for end in sorted(cuts):
        width = len(content[end - 1].encode())
        ends += [end] * draw(st.sampled_from([1, width]))
    ends = ends[: draw(st.integers(1, len(ends)))]
    ends = [-1] * draw(st.integers(0, 2)) + ends + [-1] * draw(st.integers(0, 1))
    ids = draw(st.lists(st.integers(0, 50), min_size=len(ends), max_size=len(ends)))
    return encoded(ends, ids)


@st.composite
def two_views(draw: st.DrawFn) -> tuple[Encoded, Encoded]:
    text = draw(st.text("ab é🙂", min_size=1, max_size=25))
    return draw(documents(text)), draw(documents(text))


@steady
@given(two_views(), st.integers(0, 4))
def test_pairs_have_equal_ends_and_none_is_missed(views: tuple[Encoded, Encoded], skip: int) -> None:
    src, dst = views
    pairs = pair_document(src, dst, skip)
    left, right = src.ends[src.kept], dst.ends[dst.kept]
    assert np.array_equal(left[pairs.src], right[pairs.dst])
    assert all((np.diff(side) > 0).all() and (side >= skip).all() for side in (pairs.src, pairs.dst))
    assert len(pairs.src) <= min(pairs.eligible_src, pairs.eligible_dst)
    by_hand = [
        (max(np.flatnonzero(left == end)), max(np.flatnonzero(right == end))) for end in sorted({*left} & {*right})
    ]
    if not (np.array_equal(src.ids[src.kept], dst.ids[dst.kept]) and np.array_equal(left, right)):
        assert rows(pairs) == [(i, j) for i, j in by_hand if i >= skip and j >= skip]


@steady
@given(two_views(), st.integers(0, 4))
def test_swapping_the_models_swaps_the_pairs(views: tuple[Encoded, Encoded], skip: int) -> None:
    there, back = pair_document(*views, skip), pair_document(*reversed(views), skip)
    assert rows(there) == [(i, j) for j, i in rows(back)]
    assert (there.eligible_src, there.eligible_dst) == (back.eligible_dst, back.eligible_src)


@steady
@given(documents(), st.integers(0, 4), st.integers(0, 3))
def test_equal_tokenizers_pair_every_token_after_skip(document: Encoded, skip: int, specials: int) -> None:
    other = Encoded(
        np.concatenate([np.full(specials, 99), document.ids]), np.concatenate([np.full(specials, -1), document.ends])
    )
    pairs = pair_document(document, other, skip)
    assert rows(pairs) == [(i, i) for i in range(skip, len(document.kept))]
    assert pairs.eligible_src == pairs.eligible_dst == len(pairs.src)
