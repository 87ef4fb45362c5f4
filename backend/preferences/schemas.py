"""What goes into and comes out of the preferences room."""

from datetime import datetime
from enum import StrEnum
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from backend.catalogue.models import Criterion, Split
from backend.judging.models import Outcome, Purpose

SLICE = "^[A-Za-z_]{1,40}=.{1,200}$"
REASON = "^[a-z_]{1,40}$"


class Who(StrEnum):
    """Whose votes count."""

    ALL = "all"
    PEOPLE = "people"
    SIMULATED = "simulated"


class VoteFilter(BaseModel):
    """Which votes a figure is made of.

    With `reason` only decided votes count in which that reason was given against the loser. `slice` names conditions:
    "subject=…" by the subject's name, "key=…" by an attribute of their spec; `prompt` by what their prompt contains.
    """

    model_config = ConfigDict(frozen=True)
    criterion: Criterion = Criterion.SPATIAL_RATIONALITY
    who: Who = Who.ALL
    split: Split | None = None
    reason: str | None = Field(None, pattern=REASON)
    slice: str | None = Field(None, pattern=SLICE)
    prompt: str | None = Field(None, max_length=200)


class JudgmentFilter(BaseModel):
    """Which judgments are listed: those behind a bar, a cell, an annotator, a pair. What is null asks nothing."""

    model_config = ConfigDict(frozen=True)
    criterion: Criterion | None = None
    who: Who = Who.ALL
    generator: int | None = None
    versus: int | None = None
    loser: int | None = Field(None, description="A generator whose candidate was marked as losing.")
    person: int | None = None
    condition: int | None = None
    candidate: int | None = None
    split: Split | None = None
    slice: str | None = Field(None, pattern=SLICE)
    prompt: str | None = Field(None, max_length=200)
    reason: str | None = Field(None, pattern=REASON)
    outcome: Outcome | None = None
    purpose: Purpose | None = None


class PairRules(BaseModel):
    """How judgments become preference pairs and winner groups."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    criterion: Criterion = Criterion.SPATIAL_RATIONALITY
    threshold: float = Field(0.75, ge=0.5, le=1, description="A pair is kept where its posterior p(win) reaches this.")
    winner_threshold: float | None = Field(
        None, ge=0.5, le=1, description="The same for the winners of a condition; the pairs' threshold by default."
    )
    min_votes: int = Field(
        1, ge=1, le=1000, description="Votes a pair needs at least; those below half a vote are none."
    )
    max_pairs_per_condition: int = Field(8, ge=1, le=1000, description="The clearest pairs kept of one condition.")
    max_pairs_per_subject: int | None = Field(
        None, ge=1, description="Balances subjects: at most so many pairs of one, spread over its conditions."
    )
    max_pairs_per_reason: int | None = Field(
        None, ge=1, description="Balances reasons: of each split, at most so many pairs lost mainly for the same one."
    )
    include_simulated: bool | None = Field(
        None, description="Whether simulated annotators count; by default only in the demo project."
    )
    weigh_annotators: bool = Field(True, description="Whether votes count by the reliability of who gave them.")
    weights: dict[str, Annotated[float, Field(ge=0, le=1)]] | None = Field(
        None, description="What votes of a person (by id) weigh, where less than one; measured by default."
    )
    agreement: float | None = Field(
        None, gt=0.5, le=1, description="How often two annotators agree; measured from the votes by default."
    )


class ShareOut(BaseModel):
    """A share with its 95 % Wilson interval and what it was counted on; null where nothing was."""

    value: float | None
    low: float | None
    high: float | None
    count: int


class IntervalOut(BaseModel):
    """A figure with its 95 % interval."""

    value: float
    low: float
    high: float


class RatingOut(BaseModel):
    """A generator's strength on the Elo scale; intervals are 95 %."""

    generator_id: int
    name: str
    parent_id: int | None
    run_id: int | None
    rating: float
    low: float | None = Field(description="Bootstrap over votes.")
    high: float | None
    low_clustered: float | None = Field(description="Bootstrap over annotators; null with fewer than three.")
    high_clustered: float | None
    rank_best: int
    rank_worst: int
    votes: int
    wins: int
    losses: int
    ties: int
    both_bad: int
    group: int = Field(description="Generators of different groups never met, not even over others.")
    online: IntervalOut = Field(description="Online Elo in the order of voting, and its range over shuffled orders.")
    rational: ShareOut | None = Field(description="Share that the exact judge calls rational, where there is one.")


class SliceOut(BaseModel):
    """Ratings within one slice, by generator id; `votes` is 0 and `ratings` empty where nobody voted in it."""

    value: str
    label: str
    votes: int
    ratings: dict[int, IntervalOut]


class SlicesOut(BaseModel):
    """Ratings side by side over the values of one dimension, in the order of votes."""

    by: str
    dimensions: list[str] = Field(description="What the votes can be sliced by.")
    as_of: datetime
    slices: list[SliceOut]


class LossesOut(BaseModel):
    """Why a generator's candidates lose: losing marks, and how many of them name each reason."""

    generator_id: int
    losses: int
    reasons: dict[str, int]


class MatrixCell(BaseModel):
    """Row generator against column generator."""

    generator_id: int
    versus_id: int
    votes: int
    wins: int
    ties: int
    score: float = Field(description="Wins plus half the ties, as a share of the votes.")


class LeaderboardOut(BaseModel):
    """Ratings, best first, and the votes between every two generators."""

    project: str
    criterion: Criterion
    who: Who
    split: Split | None
    reason: str | None
    slice: str | None
    prompt: str | None
    as_of: datetime
    votes: int
    simulated_votes: int
    annotators: int
    tie_parameter: float
    left_side: IntervalOut | None = Field(
        description="What standing left is worth, in points; ratings are what remains when it is taken out."
    )
    online_votes: int = Field(description="The latest votes, over which online Elo runs.")
    groups: int
    judge: str | None
    judged_on: str | None = Field(description="The conditions on which the exact judge's share is counted.")
    ratings: list[RatingOut]
    matrix: list[MatrixCell]


class PairOut(BaseModel):
    """A preference pair as the rules choose it."""

    condition_id: int
    split: Split
    subject_id: int
    prompt: str
    win_candidate_id: int
    lose_candidate_id: int
    win_image: str
    lose_image: str
    p_win: float
    votes: int
    reasons: list[str]


class PairsOut(BaseModel):
    """Pairs of some conditions; `next_cursor` leads to those of the following conditions."""

    items: list[PairOut]
    next_cursor: str | None


class CandidatePairOut(BaseModel):
    """Two candidates of a condition and what is known of their preference; `reason_out` is null for a chosen pair."""

    candidate_a: int
    candidate_b: int
    p_a: float = Field(description="Posterior probability that the next annotator prefers a.")
    a_wins: float = Field(description="Votes by weight, as are the next three.")
    b_wins: float
    ties: float
    both_bad: float
    votes: int = Field(description="How many votes count for half or more.")
    reason_out: str | None


class ConditionPairsOut(BaseModel):
    """Every pair of candidates of one condition, and which of them the rules choose before caps over subjects."""

    condition_id: int
    prompt: str
    agreement: float
    threshold: float
    candidates: dict[int, str] = Field(description="Candidate id to the digest of its image.")
    pairs: list[CandidatePairOut]


class YieldPoint(BaseModel):
    """What a threshold would give."""

    threshold: float
    pairs: int
    train_pairs: int
    validation_pairs: int
    conditions: int
    subjects: int
    winners: int


class YieldOut(BaseModel):
    """What the rules would give at their threshold and at others, before anything is frozen."""

    rules: PairRules
    agreement: float
    repeated: int = Field(description="Pairs of annotators who judged the same pair of images.")
    votes: int
    as_of: datetime
    chosen: YieldPoint
    contested_pairs: float = Field(description="Share of the chosen pairs that the next annotator would turn round.")
    contested_winners: float = Field(description="Share of the winners that the next annotator would not call one.")
    contested: bool = Field(description="Whether more than a tenth of the chosen pairs or winners is contested so.")
    reasons: dict[str, int] = Field(description="Pairs of the chosen rules by the reasons against their loser.")
    just_in: list[PairOut] = Field(description="Chosen pairs closest to the threshold.")
    just_out: list[PairOut] = Field(description="Pairs that fall short of it by least.")
    points: list[YieldPoint]
