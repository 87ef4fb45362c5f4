"""What the paper's claims and the study's aims would have us see, held against what was measured."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from trainer.spatialworld.geometry import REASONS
from trainer.spatialworld.study.arms import BASE

Json = Mapping[str, Any]
Found = tuple[str, str, bool]

BASE_AT_MOST, KIND_AT_LEAST, AGREEMENT_AT_LEAST = 0.40, 0.15, 0.99
FULL_AT_LEAST, DIVERSITY_AT_LEAST = 0.85, 0.80


def expectations(result: Json) -> list[dict[str, Any]]:
    """For each expectation whose figures are there: ``what``, ``found`` in words, and whether it ``holds``."""
    differences = result["differences"]
    found = [*_world(result), *_reached(result), *_order(differences), *_order_of_few(result), *_unharmed(differences)]
    return [{"what": what, "found": words, "holds": holds} for what, words, holds in found]


def _world(result: Json) -> Iterator[Found]:
    if judge := result["judge"]:
        share = judge["agreement"]
        yield "the judge agrees with the drawing in 99 %", f"{100 * share:.2f} %", share >= AGREEMENT_AT_LEAST
    if base := result["arms"].get(BASE):
        mean = base["rational"]["mean"]
        yield "the base is rational in less than 40 %", f"{100 * mean:.1f} %", mean < BASE_AT_MOST
        for reason in REASONS:
            mean = base[reason]["mean"]
            yield f"{reason} is broken in 15 % of the base's images", f"{100 * mean:.1f} %", mean >= KIND_AT_LEAST


def _reached(result: Json) -> Iterator[Found]:
    arms, judge = result["arms"], result["judge"]
    if "full" not in arms:
        return
    mean = arms["full"]["rational"]["mean"]
    yield "the full objective is rational in 85 %", f"{100 * mean:.1f} %", mean >= FULL_AT_LEAST
    yield from _diverse(result)
    if judge and "coherence" in judge:
        coherence, drawn = arms["full"]["coherence"], judge["coherence"]["autoencoded"]
        what = "its boundary is not shown to be less coherent than drawn rational scenes' through the autoencoder"
        yield what, f"{coherence['mean']:.4f} against {drawn:.4f}", coherence["high"] >= drawn


def _diverse(result: Json) -> Iterator[Found]:
    """Collapse can't pass for success; but what differs by breaking rules is no loss, so drawn scenes stand beside."""
    drawn = result["judge"]["diversity"] if result["judge"] else {}
    for measure, prefix, where in (
        ("diversity", "", ""),
        ("open_diversity", "open_", " where the prompt leaves the light open"),
    ):
        rational, mixture = drawn.get(f"{prefix}rational"), drawn.get(f"{prefix}mixture")
        share = result["kept"].get("full", {}).get(measure)
        if share and share["n"]:
            words = f"{share_words(share)}; drawn: {100 * rational / mixture:.0f} %" if rational else share_words(share)
            yield f"it keeps 80 % of the base's diversity{where}", words, share["mean"] >= DIVERSITY_AT_LEAST
    share = result["kept"].get("full", {}).get("rational_diversity")
    if share and share["n"]:
        what = "it keeps 80 % of the base's diversity among rational images"
        yield what, share_words(share), share["mean"] >= DIVERSITY_AT_LEAST
    own = result["arms"]["full"]["rational_diversity"]
    if drawn and own["n"]:
        part = own["mean"] / drawn["rational"]
        what = "its rational images have 80 % of the diversity of drawn rational scenes"
        yield what, f"{100 * part:.0f} %", part >= DIVERSITY_AT_LEAST


def share_words(found: Json) -> str:
    """A share of the base's with its interval, in per cent."""
    return f"{100 * found['mean']:.0f} % ({100 * found['low']:.0f} … {100 * found['high']:.0f})"


def _order(differences: Json) -> Iterator[Found]:
    for what, pair in (
        ("MaskDPO is above Diffusion-DPO", "mask_dpo - dpo"),
        ("MaskDPO is above Diffusion-DPO, both to the letter of the abstract", "mask_dpo_plain - dpo_plain"),
        ("the full objective is above MaskDPO", "full - mask_dpo"),
        ("the full objective is above Diffusion-DPO", "full - dpo"),
        ("MaskDPO is above Diffusion-DPO at a third of the steps", "mask_dpo_early - dpo_early"),
        ("the full objective is above MaskDPO at a third of the steps", "full_early - mask_dpo_early"),
        ("… and of equal compute", "full_early - mask_dpo_early_same_compute"),
        ("the full objective is above SFT of equal steps", "full - sft"),
        ("the full objective is above SFT of equal compute", "full - sft_same_compute"),
    ):
        if pair in differences:
            yield _above(what, differences[pair]["rational"])
    for what, pair, measure, sign in (
        ("MaskDPO keeps the foreground truer than Diffusion-DPO", "mask_dpo - dpo", "foreground_error", -1),
        ("… without its foreground loss too", "mask_dpo_no_foreground - dpo", "foreground_error", -1),
        ("CAPO makes the boundary more coherent", "mask_dpo_capo - mask_dpo", "coherence", 1),
    ):
        if pair in differences:
            gap = differences[pair][measure]
            words = f"{gap['mean']:+.4f} ({gap['low']:+.4f} … {gap['high']:+.4f})"
            yield what, words, min(sign * gap["low"], sign * gap["high"]) > 0


def _above(what: str, gap: Json) -> Found:
    """A difference of shares that must lie wholly above 0."""
    words = f"{100 * gap['mean']:+.1f} points ({100 * gap['low']:+.1f} … {100 * gap['high']:+.1f})"
    return what, words, gap["low"] > 0


def _order_of_few(result: Json) -> Iterator[Found]:
    """The order where pairs are few or wrong, and for large subjects."""
    for pair, what in (
        ("mask_dpo - dpo", "MaskDPO is above Diffusion-DPO"),
        ("full - mask_dpo", "the full objective is above MaskDPO"),
        ("full - sft", "the full objective is above SFT of equal steps"),
    ):
        gap = result["differences"].get(pair, {}).get("rational_large")
        if gap and gap["n"]:
            yield _above(f"{what}, on large subjects", gap)
        for snapshot, found in result["terms"].items():
            if gap := found["differences"].get(pair):
                yield _above(f"{what}, {where_of(snapshot)}", gap["rational"])


def where_of(snapshot: str) -> str:
    """The pairs of a data question in words: ``pairs-50``, ``error-20``."""
    question, _, value = snapshot.partition("-")
    return f"with {value} pairs" if question == "pairs" else f"where annotators err in {value} %"


def _unharmed(differences: Json) -> Iterator[Found]:
    """Not shown to be worse than the base: the interval does not lie wholly on the wrong side."""
    if gaps := differences.get(f"full - {BASE}"):
        error, coherence = gaps["foreground_error"], gaps["coherence"]
        yield "foreground error is not shown to be worse than the base's", f"{error['mean']:+.4f}", error["low"] <= 0
        yield (
            "boundary coherence is not shown to be worse than the base's",
            f"{coherence['mean']:+.4f}",
            coherence["high"] >= 0,
        )
