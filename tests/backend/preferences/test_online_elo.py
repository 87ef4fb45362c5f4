"""Online Elo against its peer, and that it depends on an order that Bradley–Terry does not know."""

import numpy as np
import pandas as pd

from backend.preferences.online_elo import STEP, online_elo


def games(number: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    pairs = np.stack([rng.choice(5, 2, replace=False) for _ in range(number)])
    return pairs, rng.choice([0.0, 0.5, 1.0], number)


def test_one_pass_equals_evalica() -> None:
    import evalica

    pairs, scores = games(400, 0)
    winners = [{1.0: evalica.Winner.X, 0.0: evalica.Winner.Y}.get(score, evalica.Winner.Draw) for score in scores]
    theirs = evalica.elo(
        pairs[:, 0].tolist(), pairs[:, 1].tolist(), winners, initial=1500.0, base=10.0, scale=400.0, k=STEP
    )
    ours = online_elo(5, pairs, scores, shuffles=0)
    assert isinstance(theirs.scores, pd.Series)
    assert np.abs(ours.ratings - theirs.scores.sort_index().to_numpy()).max() < 1e-6


def test_its_end_depends_on_the_order_alone() -> None:
    # The same two hundred even votes: won first and lost later, or the other way round.
    pairs = np.tile([0, 1], (200, 1))
    won_first = np.repeat([1.0, 0.0], 100)
    first, last = (online_elo(2, pairs, scores, shuffles=50).ratings[0] for scores in (won_first, won_first[::-1]))
    assert last - first > 200
    shuffled = online_elo(2, pairs, won_first, shuffles=50).shuffled
    assert shuffled.shape == (50, 2) and first < shuffled[:, 0].min() and shuffled[:, 0].max() < last
    assert np.allclose(shuffled.sum(axis=1), 3000)
