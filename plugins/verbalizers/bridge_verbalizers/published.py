"""Published readers of activations: which models have one, and where it is. Only what a public page or file says."""

from __future__ import annotations

from collections.abc import Callable

from bridge.hookspecs import hookimpl
from bridge.verbalizers import KnownReader

KITFT = "https://github.com/kitft/natural_language_autoencoders"
ORACLES = "https://github.com/adamkarvonen/activation_oracles"
ORACLE_COLLECTION = "https://huggingface.co/collections/adamkarvonen/activation-oracles"
CESELDER = "https://huggingface.co/ceselder/qwen3.6-27b-nla-rl"

# Gigabytes are those of the files where a page says them (Qwen2.5-7B, Qwen3.6-27B), else two bytes a parameter.
NLAS = (
    # Model, site, repository of both halves without its ending, gigabytes of both in bfloat16.
    ("Qwen/Qwen2.5-7B-Instruct", "20", "kitft/nla-qwen2.5-7b-L20", 26.1),
    ("google/gemma-3-12b-it", "32", "kitft/nla-gemma3-12b-L32", 42.0),
    ("google/gemma-3-27b-it", "41", "kitft/nla-gemma3-27b-L41", 93.0),
    ("meta-llama/Llama-3.3-70B-Instruct", "53", "kitft/Llama-3.3-70B-NLA-L53", 238.0),
)

ACTIVATION_ORACLES = (
    # Model, blocks, repository, gigabytes of base and adapter in bfloat16; oracles read at 50, 25 and 75 percent.
    ("Qwen/Qwen3-1.7B", 28, "checkpoints_cls_latentqa_past_lens_Qwen3-1_7B", 4.2),
    ("Qwen/Qwen3-4B", 36, "checkpoints_latentqa_cls_past_lens_Qwen3-4B", 8.8),
    ("Qwen/Qwen3-8B", 36, "checkpoints_latentqa_cls_past_lens_addition_Qwen3-8B", 17.1),
    ("Qwen/Qwen3-14B", 40, "checkpoints_latentqa_cls_past_lens_Qwen3-14B", 30.5),
    ("Qwen/Qwen3-32B", 64, "checkpoints_cls_latentqa_past_lens_Qwen3-32B", 67.7),
    ("Qwen/Qwen3.6-27B", 64, "checkpoints_latentqa_cls_past_lens_addition_Qwen3.6-27B", 55.5),
    ("google/gemma-2-9b-it", 42, "checkpoints_latentqa_cls_past_lens_addition_gemma-2-9b-it", 19.2),
    ("google/gemma-3-27b-it", 62, "checkpoints_latentqa_cls_past_lens_gemma-3-27b-it", 56.5),
    ("meta-llama/Llama-3.1-8B-Instruct", 32, "checkpoints_latentqa_cls_past_lens_Llama-3_1-8B-Instruct", 16.7),
    (
        "meta-llama/Llama-3.3-70B-Instruct",
        80,
        "checkpoints_act_cls_latentqa_pretrain_mix_adding_Llama-3_3-70B-Instruct",
        143.0,
    ),
)


@hookimpl
def register_known_readers(register: Callable[[KnownReader], None]) -> None:
    """Offer the released NLAs, those of EasyNLA, and activation oracles."""
    for model, site, repository, gigabytes in NLAS:
        register(
            KnownReader(
                f"nla-{_short(model)}",
                model,
                (site,),
                f"nla:checkpoint=hub:{repository}-av,ar=hub:{repository}-ar",
                reconstructs=True,
                gigabytes=gigabytes,
                source=KITFT,
            )
        )
    # No PEFT adapter is listed: those of this repository name its root as their base, where no weights lie.
    folder = "hub:ceselder/qwen3.6-27b-nla-rl"
    register(
        KnownReader(
            "easynla-qwen3.6-27b",
            "Qwen/Qwen3.6-27B",
            ("42",),
            f"easynla:checkpoint={folder}/av_base,ar={folder}/ar_reconstructor",
            reconstructs=True,
            gigabytes=89.2,
            source=CESELDER,
        )
    )
    for model, blocks, repository, gigabytes in ACTIVATION_ORACLES:
        register(
            KnownReader(
                f"oracle-{_short(model)}",
                model,
                tuple(str(int(blocks * share / 100)) for share in (50, 25, 75)),
                f"activation_oracle:checkpoint=hub:adamkarvonen/{repository}",
                base=model,
                asks=True,
                gigabytes=gigabytes,
                source=ORACLES if "addition" in repository or "adding" in repository else ORACLE_COLLECTION,
            )
        )


def _short(model: str) -> str:
    return model.partition("/")[2].lower().removesuffix("-instruct").removesuffix("-it")
