"""Attention checks: whoever misses too many known answers is paused, and told why."""

from typing import Any

from sqlalchemy.orm import Session

from backend.judging import repository_standing


def check(session: Session, settings: dict[str, Any], project_id: int, person_id: int, seen: int, right: int) -> bool:
    """Pauses the annotator where enough known answers were met and too few of them given; whether it did."""
    if not settings["gold_pass_percent"] or seen < settings["gold_minimum"]:
        return False
    if 100 * right >= settings["gold_pass_percent"] * seen:
        return False
    words = (
        f"{seen - right} of your last {seen} answers to comparisons whose answer is known went the other way. "
        "Read the guidelines again, then ask a lead of the project to let you go on."
    )
    repository_standing.set_pause(session, project_id, person_id, words, None)
    return True
