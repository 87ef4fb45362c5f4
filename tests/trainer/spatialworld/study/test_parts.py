"""Subjects' roles, annotators, the choice of pairs, the judge's check, the measures and the plots."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from trainer.backbones.load import load_backbone
from trainer.backbones.protocol import Backbone
from trainer.objectives import dpo_loss, region_error
from trainer.spatialworld.scenes import Plan, make_scene
from trainer.spatialworld.study import plots
from trainer.spatialworld.study.arms import ARMS, config_of
from trainer.spatialworld.study.conditions import conditions_for, noise_seed
from trainer.spatialworld.study.conflict import foreground_conflict
from trainer.spatialworld.study.expectations import expectations
from trainer.spatialworld.study.held_out import Rows, held_out_rows
from trainer.spatialworld.study.judge_check import check_judge, drawn_coherence, drawn_diversity
from trainer.spatialworld.study.measures import held_out, measure_images, measure_pairs
from trainer.spatialworld.study.pairs import PairRule, annotate, choose_pairs
from trainer.spatialworld.study.plan import arm_tasks, chosen_settings, data_rules, steps_of, terms_tasks, trial_tasks
from trainer.spatialworld.study.pool import FIELDS, Candidates, judged
from trainer.spatialworld.study.scale import SCALES, Study

PLANS: tuple[Plan, ...] = ("clean", "clean", "position", "scale")


@pytest.fixture(scope="module")
def candidates() -> Candidates:
    """Drawn scenes of six conditions in place of a model's images: two clean, two broken each."""
    conditions = [c for c in conditions_for("train", 24) if c.spec.viewpoint == "level"][:6]
    raw = [[make_scene(c, plan, np.random.default_rng([i, k])).image for k, plan in enumerate(PLANS)]
           for i, c in enumerate(conditions)]  # fmt: skip
    return judged(np.array(raw), conditions)


def test_no_identity_is_in_two_parts() -> None:
    parts = [
        {condition.subject.identity for condition in conditions_for(role, count)}
        for role, count in (("train", 60), ("tuning", 20), ("test", 30))
    ]
    assert not parts[0] & parts[1]
    assert not parts[0] & parts[2]
    assert not parts[1] & parts[2]


def test_seeds_of_draws_do_not_collide() -> None:
    seeds = {noise_seed(role, i, k) for role in ("train", "tuning", "test") for i in range(50) for k in range(8)}
    assert len(seeds) == 3 * 50 * 8


def test_infallible_annotators_say_what_the_judge_says(candidates: Candidates) -> None:
    assert np.array_equal(annotate(candidates, PairRule(10)) > 0.5, candidates.rational == 1)


def test_annotators_err_as_often_as_they_should(candidates: Candidates) -> None:
    many = Candidates(**{name: np.repeat(getattr(candidates, name), 200, axis=0) for name in vars(candidates)})
    wrong = (annotate(many, PairRule(1, error=0.2)) > 0.5) != (many.rational == 1)
    assert wrong.mean() == pytest.approx(0.2, abs=0.02)
    three = (annotate(many, PairRule(1, error=0.2, annotators=3)) > 0.5) != (many.rational == 1)
    assert three.mean() == pytest.approx(3 * 0.04 * 0.8 + 0.008, abs=0.02)


def test_pairs_win_by_the_verdict_and_fewer_are_a_part_of_more(candidates: Candidates) -> None:
    every = choose_pairs(candidates, PairRule(1000))
    assert len(every) == sum(int((row == 1).sum() * (row != 1).sum()) for row in candidates.rational)
    assert all(candidates.rational[p.condition, p.win] == 1 and p.p_win > 0.9 for p in every)
    assert choose_pairs(candidates, PairRule(7)) == every[:7]


def test_a_rule_for_one_reason_takes_losers_of_that_reason_alone(candidates: Candidates) -> None:
    chosen = choose_pairs(candidates, PairRule(1000, choose="position"))
    assert chosen
    assert {str(candidates.reasons[p.condition, p.lose]) for p in chosen} == {"position"}
    clear = choose_pairs(candidates, PairRule(1000, choose="high_contrast"))
    assert 0 < len(clear) <= len(choose_pairs(candidates, PairRule(1000)))


def test_soft_labels_lie_between_a_toss_and_certainty(candidates: Candidates) -> None:
    found = {round(p.p_win, 6) for p in choose_pairs(candidates, PairRule(1000, error=0.3, annotators=3))}
    assert len(found) > 1
    assert min(found) > 0.5
    assert max(found) < 1


def test_pairs_that_all_annotators_agree_on_are_seldom_wrong(candidates: Candidates) -> None:
    many = Candidates(**{name: np.tile(getattr(candidates, name), (60, 1, *[1] * (getattr(candidates, name).ndim - 2)))
                         for name in FIELDS})  # fmt: skip
    truth = many.rational == 1

    def share_right(rule: PairRule) -> tuple[int, float]:
        pairs = choose_pairs(many, rule)
        right = [truth[pair.condition, pair.win] and not truth[pair.condition, pair.lose] for pair in pairs]
        return len(pairs), float(np.mean(right))

    several = PairRule(10_000, error=0.2, annotators=3)
    count, right = share_right(several)
    fewer, sure = share_right(replace(several, sure=0.9))
    assert right < 0.9 < sure
    assert 0 < fewer < count
    votes_agree = annotate(many, several)
    for pair in choose_pairs(many, replace(several, sure=0.9)):
        assert votes_agree[pair.condition, pair.win] * (1 - votes_agree[pair.condition, pair.lose]) >= 0.9


def test_the_judge_agrees_with_the_drawing_on_clean_and_broken_scenes() -> None:
    found = check_judge(120)
    assert found["agreement"] >= 0.99
    assert set(found["by_plan"]) == {"clean", "scale", "position", "viewpoint"}


def test_measures_of_drawn_scenes_are_what_was_drawn(candidates: Candidates) -> None:
    conditions = [c for c in conditions_for("train", 24) if c.spec.viewpoint == "level"][:6]
    measures = measure_images(candidates, conditions)
    assert np.array_equal(measures["rational"], np.tile([1, 1, 0, 0], (6, 1)))
    assert np.array_equal(measures["rational_level"], measures["rational"])
    assert np.isnan(measures["rational_top"]).all()
    assert np.array_equal(measures["position"][:, 2], np.ones(6))
    assert np.nanmean(measures["asked_light"]) == 1
    assert np.nanmean(measures["asked_surface"][:, :2]) == 1
    assert np.array_equal(np.isnan(measures["asked_light"][:, 0]), [c.spec.light is None for c in conditions])
    assert measures["foreground_error"].max() < 0.1  # the edge's blend with the background
    assert measures["coherence"].min() > 0.5
    assert (measures["diversity"] > 0).all()
    large = [c.foreground.sum() >= 0.12 * 64 * 64 for c in conditions]
    assert np.array_equal(np.isfinite(measures["rational_large"][:, 0]), large)
    leaves_open = [c.spec.light is None for c in conditions]
    assert np.array_equal(np.isfinite(measures["open_diversity"]), leaves_open)
    alike = replace(candidates, raw=np.repeat(candidates.raw[:, :1], 4, axis=1))
    assert not measure_images(alike, conditions)["diversity"].any()


def test_diversity_among_rational_images_leaves_hallucinations_out(candidates: Candidates) -> None:
    conditions = [c for c in conditions_for("train", 24) if c.spec.viewpoint == "level"][:6]
    one_rational = candidates.rational.copy()
    one_rational[0, 1] = 0
    measures = measure_images(replace(candidates, rational=one_rational), conditions)
    assert np.isnan(measures["rational_diversity"][0])
    background = conditions[1].mask > 127
    first, second = (candidates.raw[1, k][background].astype(float) / 255 for k in range(2))
    assert measures["rational_diversity"][1] == pytest.approx(np.abs(first - second).mean(), rel=1e-5)
    assert np.nanmean(measures["rational_diversity"]) < np.mean(measures["diversity"])


def test_the_foregrounds_part_is_what_tells_the_two_objectives_gradients_apart(candidates: Candidates) -> None:
    conditions = [c for c in conditions_for("train", 24) if c.spec.viewpoint == "level"][:6]
    pairs = choose_pairs(candidates, PairRule(4))
    found = foreground_conflict(load_backbone("spatialworld"), candidates, conditions, pairs)
    backbone = load_backbone("spatialworld")
    backbone.train_fully(copy_reference=False)
    cosines = []
    for index, pair in enumerate(pairs):
        win, lose = held_out_rows(backbone, candidates, conditions, [pair], first=index)
        ours, plain = (_gradient(backbone, win, lose, region) for region in (win.background, win.background * 0 + 1))
        cosines.append(float(torch.nn.functional.cosine_similarity(ours, plain, dim=0)))
    assert found[0]["alike"] == pytest.approx(np.median(cosines), abs=1e-3)
    assert {(row["t_min"], row["subjects"]) for row in found} == {
        (t_min, subjects) for t_min in (0.0, 0.8) for subjects in ("all", "largest quarter")
    }
    assert all(0 < row["left"] <= 1 and row["weight"] > 0 for row in found)


def test_what_a_model_gained_on_held_out_pairs_is_its_error_less_the_references(candidates: Candidates) -> None:
    conditions = [c for c in conditions_for("train", 24) if c.spec.viewpoint == "level"][:6]
    pairs = choose_pairs(candidates, PairRule(18))  # more than a forward takes
    reference, policy = (load_backbone("spatialworld") for _ in range(2))
    some = held_out(reference, candidates, conditions, pairs)
    assert not measure_pairs(reference, some)["d_win"].any()
    with torch.no_grad():
        policy.pipeline.transformer.proj_out.weight.mul_(1.05)
    found = measure_pairs(policy, some)
    assert len(found["d_win"]) == len(found["d_lose"]) == len(pairs)
    win, lose = held_out_rows(reference, candidates, conditions, [pairs[17]], first=17)
    for name, rows in (("d_win", win), ("d_lose", lose)):
        after, before = (((rows.predicted(m) - rows.target) ** 2 * rows.background) for m in (policy, reference))
        gained = (after - before).sum() / (rows.background.sum() * rows.target.shape[1])
        assert found[name][17] == pytest.approx(float(gained.detach()), rel=1e-3, abs=1e-6)
    assert np.array_equal(found["accuracy"], found["d_win"] < found["d_lose"])


def _gradient(backbone: Backbone, win: Rows, lose: Rows, region: torch.Tensor) -> torch.Tensor:
    """Of DPO's loss inside a region, at the reference, by all weights."""
    errors = [region_error(rows.predicted(backbone), rows.target, region) for rows in (win, lose)]
    loss = dpo_loss(*errors, *(error.detach() for error in errors), beta=100.0).losses.sum()
    return torch.cat([part.flatten() for part in torch.autograd.grad(loss, list(backbone.trainable().values()))])


def test_rational_scenes_differ_less_than_the_mixture_does() -> None:
    found = drawn_diversity(24)
    assert 0 < found["rational"] < 0.8 * found["mixture"]
    assert 2 * found["rational"] < found["open_rational"] < found["open_mixture"]


def test_the_autoencoder_costs_a_drawn_boundary_some_of_its_coherence() -> None:
    found = drawn_coherence(8, load_backbone("spatialworld"))
    assert 0.7 < found["autoencoded"] < found["drawn"] - 0.01


@pytest.mark.parametrize("arm", ARMS, ids=lambda arm: arm.name)
def test_every_arm_has_a_config(arm, tmp_path) -> None:  # type: ignore[no-untyped-def]  # parametrised
    study = Study(tmp_path, SCALES["cpu"])
    config = config_of(study, 10, 0, {"objective.beta": 50.0, "objective.t_min": 0.7}, arm.overrides)
    assert config.training.pairs_per_step == study.scale.pairs_per_step
    settings = {each.name: {} for each in ARMS}
    usual = study.scale.steps / 3 if arm.group == "early" else study.scale.steps
    assert usual <= steps_of(study, arm, settings) < 4 * usual


def test_every_tuned_arm_tries_the_same_number_of_settings(tmp_path: Path) -> None:
    study = Study(tmp_path, SCALES["gpu"])
    tuned = [task.name.rsplit("-", 1)[0] for task in trial_tasks(study)]
    assert {tuned.count(name) for name in tuned} == {study.scale.trials}


@pytest.mark.parametrize("scale", ["cpu", "gpu"])
def test_other_objectives_learn_from_few_or_wrong_pairs_that_there_are(scale: str, tmp_path: Path) -> None:
    study = Study(tmp_path, SCALES[scale])
    assert set(study.scale.data_terms) <= set(data_rules(study))
    asked = terms_tasks(study, chosen_settings(study))
    assert len({task.name for task in asked}) == len(asked) > 0
    assert {task.snapshot for task in asked} == set(study.scale.data_terms)
    usual = {task.arm: task.overrides for task in arm_tasks(study, chosen_settings(study))}
    assert all(task.overrides == usual[task.arm.split("-")[0]] for task in asked)


def test_expectations_are_held_against_the_figures() -> None:
    def mean(value: float) -> dict[str, float]:
        return {"mean": value, "low": value - 0.01, "high": value + 0.01, "n": 9}

    base = {"rational": mean(0.3), "scale": mean(0.2), "position": mean(0.1), "viewpoint": mean(0.4),
            "diversity": mean(0.2), "rational_diversity": mean(0.1)}  # fmt: skip
    full = {"rational": mean(0.86), "diversity": mean(0.15), "rational_diversity": mean(0.09), "coherence": mean(0.83)}
    result = {
        "judge": {
            "agreement": 1.0, "diversity": {"rational": 0.18, "mixture": 0.4}, "coherence": {"autoencoded": 0.85},
        },
        "arms": {"base": base, "full": full},
        "kept": {"full": {"diversity": mean(0.7), "rational_diversity": mean(0.9)}},
        "differences": {
            "mask_dpo - dpo": {
                "rational": mean(0.005), "rational_large": mean(0.02), "foreground_error": mean(-0.02),
            },
            "full - base": {"foreground_error": mean(0.02), "coherence": mean(0.0)},
        },
        "terms": {"pairs-50": {"differences": {"mask_dpo - dpo": {"rational": mean(0.0)}}}},
    }  # fmt: skip
    found = {row["what"]: row["holds"] for row in expectations(result)}
    assert found["the full objective is rational in 85 %"]
    assert found["the base is rational in less than 40 %"]
    assert not found["position is broken in 15 % of the base's images"]
    assert not found["it keeps 80 % of the base's diversity"]
    assert found["it keeps 80 % of the base's diversity among rational images"]
    assert not found["its rational images have 80 % of the diversity of drawn rational scenes"]
    assert not found["MaskDPO is above Diffusion-DPO"]
    assert found["MaskDPO is above Diffusion-DPO, on large subjects"]
    assert not found["MaskDPO is above Diffusion-DPO, with 50 pairs"]
    assert found["MaskDPO keeps the foreground truer than Diffusion-DPO"]
    assert not found["foreground error is not shown to be worse than the base's"]
    assert found["boundary coherence is not shown to be worse than the base's"]
    assert not found[
        "its boundary is not shown to be less coherent than drawn rational scenes' through the autoencoder"
    ]
    assert "the full objective is above MaskDPO" not in found
    nothing = {"judge": None, "arms": {}, "differences": {}, "kept": {}, "terms": {}}
    assert expectations(nothing) == []


def test_plots_are_well_formed_and_keep_their_order() -> None:
    points = [plots.Point("a < b", 0.2, 0.1, 0.3), plots.Point("c", 0.6, 0.5, 0.65)]
    for svg in (plots.rows("title", points, percent=True, reference=0.15), plots.curve("title", "x", points)):
        tree = ElementTree.fromstring(svg)
        circles = [item for item in tree.iter() if item.tag.endswith("circle")]
        assert len(circles) == 2
        words = [item.text for item in tree.iter() if item.tag.endswith("text")]
        assert "a < b" in words
    places = [float(circle.get("cx", "nan")) for circle in ElementTree.fromstring(plots.rows("t", points)).iter()
              if circle.tag.endswith("circle")]  # fmt: skip
    assert places[0] < places[1]


def test_a_single_value_can_be_plotted() -> None:
    ElementTree.fromstring(plots.rows("t", [plots.Point("only", 0.0, 0.0, 0.0)]))
