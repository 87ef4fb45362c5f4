"""Which candidates meet."""

from backend.generation.groups import groups_of
from backend.judging.models import ComparisonKind

ONE = [(0, 10), (1, 11), (2, 12), (3, 13), (4, 14)]


def test_win_lose_takes_k_at_a_time_and_keeps_a_rest_of_two():
    assert groups_of(ComparisonKind.WIN_LOSE, 3, [ONE], same_seed=True) == [[10, 11, 12], [13, 14]]
    assert groups_of(ComparisonKind.WIN_LOSE, 4, [ONE], same_seed=True) == [[10, 11, 12, 13]]


def test_several_generators_are_mixed_seed_by_seed():
    two = [ONE[:2], [(0, 20), (1, 21)]]
    assert groups_of(ComparisonKind.WIN_LOSE, 4, two, same_seed=True) == [[10, 20, 11, 21]]
    assert groups_of(ComparisonKind.PAIRWISE, 4, two, same_seed=True) == [[10, 20], [11, 21]]


def test_the_arena_pairs_equal_seeds_or_else_by_order():
    two = [ONE[:3], [(1, 21), (7, 27)]]
    assert groups_of(ComparisonKind.ARENA, 4, two, same_seed=True) == [[11, 21]]
    assert groups_of(ComparisonKind.ARENA, 4, two, same_seed=False) == [[10, 21], [11, 27]]
    three = [[(0, 1)], [(0, 2)], [(0, 3)]]
    assert groups_of(ComparisonKind.ARENA, 2, three, same_seed=True) == [[1, 2], [1, 3], [2, 3]]


def test_nothing_comes_of_nothing():
    assert groups_of(ComparisonKind.WIN_LOSE, 4, [[], [(0, 1)]], same_seed=True) == []
