"""The grammar of references and sites: every form that is accepted, and what is said of those that are not."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge.errors import UsageError
from bridge.references import POINTS, Reference, Site, parse_reference, parse_site, parse_sites

steady = settings(derandomize=True, deadline=None)

LAYERS = 12
words = st.from_regex(r"[A-Za-z][A-Za-z0-9_\-]{0,12}", fullmatch=True)
models = st.one_of(words, st.builds("{}/{}".format, words, words))
sites = st.builds(Site, st.integers(0, LAYERS - 1), st.sampled_from(POINTS))


@steady
@given(st.builds(Reference, models, st.just("") | words, st.just("") | sites.map(str), st.just("") | words))
def test_writing_and_parsing_a_reference_is_the_identity(reference: Reference) -> None:
    assert parse_reference(str(reference)) == reference


@steady
@given(st.text(max_size=40))
def test_any_text_is_a_reference_or_a_usage_error(text: str) -> None:
    try:
        reference = parse_reference(text)
    except UsageError as error:
        assert "name[:variant]@layer[.point][#revision]" in error.remedy
    else:
        assert reference.model


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("qwen", Reference("qwen")),
        (" qwen@20 ", Reference("qwen", site="20")),
        ("pythia-70m:seed3@3#step143000", Reference("pythia-70m", "seed3", "3", "step143000")),
        ("hf-user/model@12", Reference("hf-user/model", site="12")),
        ("hf-user/model#a/branch", Reference("hf-user/model", revision="a/branch")),
        ("./folder@66%", Reference("./folder", site="66%")),
        ("/abs/fold:er@-1", Reference("/abs/fold:er", site="-1")),
        ("~/model", Reference("~/model")),
        ("C:model.gguf@12.resid_post", Reference("C:model.gguf", site="12.resid_post")),
        ("qwen@blocks.20.hook_resid_post", Reference("qwen", site="blocks.20.hook_resid_post")),
        ("smollm2@3,6-9:2", Reference("smollm2", site="3,6-9:2")),
        ("smollm2@*", Reference("smollm2", site="*")),
    ],
)
def test_forms_of_a_reference(text: str, expected: Reference) -> None:
    assert parse_reference(text) == expected


@pytest.mark.parametrize("text", ["", " ", "@3", "#main", "qwen@", "qwen@#main", "qwen#", "qwen:", "qwen:@3", ":seed1"])
def test_a_reference_with_an_empty_part_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="is not a model reference"):
        parse_reference(text)


def test_a_file_that_exists_may_hold_a_hash_in_its_name(tmp_path: Path) -> None:
    folder = tmp_path / "run#3"
    folder.mkdir()
    assert parse_reference(str(folder)) == Reference(str(folder))


@steady
@given(sites)
def test_writing_and_parsing_a_site_is_the_identity(site: Site) -> None:
    assert parse_site(str(site), LAYERS) == site


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0", Site(0)),
        ("-1", Site(11)),
        ("-12", Site(0)),
        ("0%", Site(0)),
        ("50%", Site(6)),
        ("66%", Site(7)),
        ("100%", Site(11)),
        ("66%.attn_out", Site(7, "attn_out")),
        ("-1.resid_pre", Site(11, "resid_pre")),
        ("blocks.5.hook_resid_post", Site(5)),
        ("blocks.5.hook_resid_mid", Site(5, "resid_mid")),
        ("blocks.5.hook_mlp_out", Site(5, "mlp_out")),
        ("5.resid_post.stream1", Site(5, "resid_post.stream1")),
        ("50%.resid_pre.mean", Site(6, "resid_pre.mean")),
        ("blocks.5.hook_resid_post.stream0", Site(5, "resid_post.stream0")),
        ("model.norm", Site(-1, "model.norm")),
        ("model.embed_tokens", Site(-1, "model.embed_tokens")),
        ("model.projections.14", Site(-1, "model.projections.14")),
        ("layers.5", Site(5)),
        ("h.5", Site(5)),
        ("layers.5.mlp", Site(5, "layers.5.mlp")),
        ("model.layers.5.mlp", Site(5, "layers.5.mlp")),
        ("model.layers.5.self_attn.o_proj", Site(5, "layers.5.self_attn.o_proj")),
        ("vision_tower.encoder.layers.5", Site(5, "vision_tower.encoder.layers.5")),
        ("encoder.layer.5.attention.output", Site(5, "encoder.layer.5.attention.output")),
        ("model.language_model.layers.5", Site(5)),
        ("transformer.h.5.attn", Site(5, "h.5.attn")),
        ("gpt_neox.layers.5.attention", Site(5, "layers.5.attention")),
    ],
)
def test_forms_of_a_site(text: str, expected: Site) -> None:
    assert parse_site(text, LAYERS) == expected


@pytest.mark.parametrize("text", ["12", "-13", "101%", "blocks.12.hook_resid_post", "model.layers.99.mlp"])
def test_a_block_that_the_model_lacks_is_refused_with_the_range_that_exists(text: str) -> None:
    with pytest.raises(UsageError, match=r"has 12 blocks.*from 0 to 11.*0% to 100%"):
        parse_site(text, LAYERS)


@pytest.mark.parametrize("text", ["3.nowhere", "blocks.3.hook_z", "3.nowhere.mean"])
def test_an_unknown_point_is_refused_with_the_known_ones(text: str) -> None:
    with pytest.raises(UsageError, match="resid_pre, attn_out, resid_mid, mlp_out, resid_post"):
        parse_site(text, LAYERS)


@pytest.mark.parametrize(
    "text", ["", "x", "3.5", "1.0", "blocks.3.attn.hook_z", "layers", "50 %", "--1", "3.resid_post.last"]
)
def test_what_is_no_site_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        parse_site(text, LAYERS)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("*", range(12)),
        ("3,9, 6", [3, 6, 9]),
        ("2-5", [2, 3, 4, 5]),
        ("0-11:4", [0, 4, 8]),
        ("-1,0-1,0", [0, 1, 11]),
        ("100%,50%", [6, 11]),
    ],
)
def test_lists_and_ranges_of_sites(text: str, expected: list[int]) -> None:
    assert parse_sites(text, LAYERS) == [Site(layer) for layer in expected]


def test_sites_come_in_the_order_of_a_forward_pass() -> None:
    parsed = parse_sites("4," + ",".join(f"3.{point}" for point in reversed(POINTS)), LAYERS)
    assert parsed == [*(Site(3, point) for point in POINTS), Site(4)]


@pytest.mark.parametrize(
    ("text", "message"),
    [("5-2", "empty range"), ("0-4:0", "empty range"), ("0-12", "0 to 11"), ("3,", "not a site"), ("", "not a site")],
)
def test_wrong_lists_of_sites_are_refused(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        parse_sites(text, LAYERS)
