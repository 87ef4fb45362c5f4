"""The part of a run's config that says what is learned: the terms of the objective and their options."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, Self

from pydantic import Field, model_validator

from trainer.contract.section import Section


class MaskDpoConfig(Section):
    """Preference on the background, inpainting loss on the foreground."""

    foreground_weight: float = Field(1.0, ge=0)
    """lambda_fg."""
    foreground_on: Literal["win", "both"] = "win"
    """Whose foreground error enters the inpainting loss (our reading: the winner's)."""
    boundary: Literal["soft", "exclude", "dpo", "sft"] = "soft"
    """Latent cells that the mask cuts: weigh by coverage, leave out, give to the preference, or to the inpainting
    loss."""


class CapoConfig(Section):
    """Global preference between differently cropped members of a pair. Weight 0 turns it off."""

    weight: float = Field(0.5, ge=0)
    """lambda_c."""
    reading: Literal["independent_crops", "win_full_lose_crop", "condition_only"] = "independent_crops"
    scale_min: float = Field(0.6, gt=0, le=1)
    """Smallest side of a crop window as a share of the image's."""
    scale_max: float = Field(1.0, gt=0, le=1)
    min_foreground: float = Field(0.7, ge=0, le=1)
    """Share of the subject's pixels that a window must keep."""
    min_background: float = Field(0.15, ge=0, le=1)
    """Share of a window's pixels that must be background."""
    min_difference: float = Field(0.15, ge=0, lt=1)
    """1 - intersection over union of the two windows: they must be clearly different."""
    share: float = Field(1.0, gt=0, le=1)
    """Share of a step's pairs (at least one) on which the term is computed."""
    draws: int = Field(4, ge=1)
    """Different pairs of windows for each pair of images: what is cropped is encoded once and kept."""

    @model_validator(mode="after")
    def _scales(self) -> Self:
        if self.scale_min > self.scale_max:
            raise ValueError("scale_min must not be above scale_max")
        most = self._most_different()
        if self.weight and self.min_difference > most:
            raise ValueError(
                f"windows of scale_min {self.scale_min:g} and more differ by {most:.2g} at most, so min_difference "
                f"{self.min_difference:g} cannot be met: lower either"
            )
        return self

    def _most_different(self) -> float:
        """1 - intersection over union of the smallest windows, in opposite corners or in the whole image."""
        if self.reading != "independent_crops":
            return 1 - self.scale_min**2
        shared = max(0.0, 2 * self.scale_min - 1) ** 2
        return 1 - shared / (2 * self.scale_min**2 - shared)


class ScpoConfig(Section):
    """Narrow the gap of implicit rewards among winners. Weight 0 turns it off."""

    weight: float = Field(0.1, ge=0)
    """lambda_s."""
    pairing: Literal["same_condition", "cross_scene", "pull_up"] = "same_condition"
    """Winners of one condition (cross-scene pairs fill in where a condition has one winner only); winners of
    different conditions; or as same_condition, with only the weaker winner moving."""
    penalty: Literal["huber", "square"] = "huber"
    share: float = Field(1.0, gt=0, le=1)
    """Share of a step's pairs (at least one) whose winner meets another winner."""


class ReplayConfig(Section):
    """Plain inpainting loss (SFT) on winners, to keep the model on its data. Weight 0 turns it off."""

    weight: float = Field(0.0, ge=0)
    t_min: float = Field(0.0, ge=0, le=1)
    t_max: float = Field(1.0, ge=0, le=1)
    winners: Literal["other", "same"] = "other"
    """Winners drawn independently of the batch's pairs, or the pairs' own winners at another t."""
    per_step: int | None = Field(None, ge=1)
    """Winners a step; None means as many as pairs."""
    boundary: Literal["include", "exclude"] = "include"
    """`exclude` leaves out the latent cells that the mask cuts: the seam of a subject pasted onto a winner lies there,
    which the autoencoder spreads and the model would learn."""

    @model_validator(mode="after")
    def _window(self) -> Self:
        if self.t_min >= self.t_max:
            raise ValueError("t_min must be below t_max")
        return self


class AnchorConfig(Section):
    """What holds the winner while the pair is pushed apart. All off by default."""

    sft: float = Field(0.0, ge=0)
    """Weight of the inpainting loss on the background of the pair's winner, at the pair's own noise and timestep."""
    dpop: float = Field(0.0, ge=0)
    """DPOP's lambda: a winner worse than the reference is taken off the margin, inside the sigmoid."""
    lose_gradient: float = Field(1.0, ge=0, le=1)
    """The loser's gradient is multiplied by this; the loss keeps its value. 0 moves winners only."""


class AutoBetaConfig(Section):
    """Drive beta so that the mean of sigmoid(-margin) goes to a target, starting from `beta`. Off without a target."""

    target: float | None = Field(None, gt=0, lt=0.5)
    """0.5 is where training starts, 0 where every pair is saturated."""
    rate: float = Field(0.1, gt=0, le=10)
    """log(beta) moves each step by this times what the mean lies above the target."""
    low: float = Field(1.0, gt=0)
    high: float = Field(100_000.0, gt=0)

    @model_validator(mode="after")
    def _bounds(self) -> Self:
        if self.low > self.high:
            raise ValueError("low must not be above high")
        return self


class ReasonWeights(Section):
    """Weight of a pair by the reasons given against its loser (their mean; 1 for a pair without reasons)."""

    scale: float = Field(1.0, ge=0)
    position: float = Field(1.0, ge=0)
    viewpoint: float = Field(1.0, ge=0)
    other: float = Field(1.0, ge=0)

    @model_validator(mode="after")
    def _some(self) -> Self:
        if not any(self.model_dump().values()):
            raise ValueError("every reason has weight 0, so that no pair with a reason would teach anything")
        return self


class ObjectiveConfig(Section):
    """L = L_Mask + lambda_c L_CAPO + lambda_s L_SCPO + replay."""

    preference: Literal["mask_dpo", "dpo", "sft", "none"] = "mask_dpo"
    """MaskDPO; plain Diffusion-DPO on the whole image (baseline); SFT on the winners of the pairs (baseline, needs no
    reference); or no term on pairs at all (then the replay alone trains)."""
    beta: float = Field(2000.0, gt=0)
    """Strength of the preference. It means nothing without `reduction`: it multiplies that error."""
    reduction: Literal["region_mean", "full_mean", "sum"] = "region_mean"
    """Error of a region: mean over the region, sum over the region / size of the image, or plain sum."""
    mask_pooling: Literal["area", "nearest"] = "area"
    """How the mask comes to the latent grid for the loss: the share of each cell that is background, or the pixel in
    the cell's corner, which leaves no cell cut and loses structures thinner than a cell."""
    t_weight: Literal["constant", "linear_squared"] = "constant"
    """omega(t) of the implicit reward: 1 or (1-t)^2."""
    t_min: float = Field(0.0, ge=0, le=1)
    """Lower end of the preference terms' timestep window; t = 1 is noise. Layout is decided at high noise."""
    t_max: float = Field(1.0, ge=0, le=1)
    soft_labels: bool = False
    """Weigh each pair's two outcomes by the annotators' p(win) instead of taking the winner as certain."""
    noise: Literal["drawn", "tracked"] = "drawn"
    """Noise of win and lose: one draw that both share, or each the noise its candidate was really sampled from (needs
    the candidates' seeds in the snapshot). CAPO's crops and the replay draw theirs in any case."""
    reason_weights: ReasonWeights = ReasonWeights()
    anchor: AnchorConfig = AnchorConfig()
    auto_beta: AutoBetaConfig = AutoBetaConfig()
    mask_dpo: MaskDpoConfig = MaskDpoConfig()
    capo: CapoConfig = CapoConfig()
    scpo: ScpoConfig = ScpoConfig()
    replay: ReplayConfig = ReplayConfig()

    @model_validator(mode="after")
    def _together(self) -> Self:
        if self.t_min >= self.t_max:
            raise ValueError("t_min must be below t_max")
        for refused, words in self._contradictions():
            if refused:
                raise ValueError(words)
        return self

    def _contradictions(self) -> Iterable[tuple[bool, str]]:
        kind, anchor, auto = self.preference, self.anchor, self.auto_beta
        unpaired = not self.prefers
        yield (
            unpaired and bool(self.capo.weight or self.scpo.weight),
            f"preference {kind} leaves nothing for CAPO and SCPO to act beside: set capo.weight and scpo.weight to 0",
        )
        yield (
            kind == "none" and not self.replay.weight,
            "preference none needs replay.weight above 0, or there is nothing to train on",
        )
        yield (
            kind == "sft" and bool(self.replay.weight),
            "preference sft is the inpainting loss on winners already, a replay would count it twice: set "
            "replay.weight to 0, or take preference none with a replay",
        )
        yield (
            unpaired and (anchor != AnchorConfig() or auto.target is not None),
            f"preference {kind} has no margin: anchor and auto_beta have nothing to act on",
        )
        weighed = self.soft_labels or self.reason_weights != ReasonWeights() or self.t_weight != "constant"
        yield (
            unpaired and weighed,
            f"preference {kind} has no pairs to weigh: leave soft_labels, reason_weights and t_weight at their "
            "defaults",
        )
        yield (
            kind != "mask_dpo" and self.mask_dpo != MaskDpoConfig(),
            f"preference {kind} does not divide the image: what is set under mask_dpo would be ignored, leave it at "
            "its defaults",
        )
        yield (
            self.soft_labels and bool(anchor.dpop),
            "soft_labels also rewards the loser, by 1 - p(win), and there anchor.dpop would reward a winner that gets "
            "worse: take one of them",
        )
        yield (
            self.noise == "tracked" and bool(self.scpo.weight),
            "with tracked noise every winner has its own noise, so that the gap SCPO narrows would be the noise's: set "
            "scpo.weight to 0, or take noise drawn",
        )
        yield (
            self.noise == "tracked" and unpaired,
            f"preference {kind} has no pairs whose noise could be tracked: take noise drawn",
        )
        yield (
            auto.target is not None and not auto.low <= self.beta <= auto.high,
            "beta must lie between auto_beta.low and auto_beta.high, it is where auto-beta starts",
        )

    @property
    def prefers(self) -> bool:
        """Whether losers and a reference are needed at all."""
        return self.preference in ("mask_dpo", "dpo")

    @property
    def inpainting(self) -> ReplayConfig:
        """The inpainting loss on whole winners: the replay, or the pairs' own winners where that is the objective."""
        if self.preference != "sft":
            return self.replay
        return ReplayConfig(weight=1.0, t_min=self.t_min, t_max=self.t_max, winners="same")
