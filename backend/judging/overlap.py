"""More judgments where people disagree, up to the project's cap."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from sqlalchemy.orm import Session

from backend.judging import repository, repository_answers
from backend.judging.repository import Counted


def agreement(opinions: Sequence[Sequence[str]]) -> float:
    """How far people agree: the share of the most frequent opinion on each candidate, averaged over candidates.

    `opinions` holds one sequence a judgment, one opinion a candidate. 1 where all say the same, or nobody anything.
    """
    if not opinions:
        return 1.0
    shares = [Counter(on_one).most_common(1)[0][1] / len(opinions) for on_one in zip(*opinions, strict=True)]
    return sum(shares) / len(shares)


def ask_more_if_split(session: Session, comparison_id: int, counted: Counted, settings: dict[str, Any]) -> bool:
    """Wants one judgment more of a comparison that has all it wanted and is still disputed; whether it did."""
    if counted.judgments < counted.wanted or counted.wanted >= settings["most_judgments_per_comparison"]:
        return False
    if agreement(repository_answers.opinions(session, comparison_id)) >= settings["agreement_wanted"]:
        return False
    repository.want_one_more(session, comparison_id)
    return True
