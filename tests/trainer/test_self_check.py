"""The check before the first step stops, with words, each way in which training could not work."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from trainer.contract.errors import ExitCode, SelfCheckError
from trainer.data.rows import Batch, Layout
from trainer.self_check import check_data, check_masks, check_model
from trainer.terms import Terms


def backbone_of(folder: Path) -> tuple[Any, Batch]:
    from trainer.backbones.load import load_backbone

    backbone: Any = load_backbone(str(folder), dtype="float32", device="cpu")
    backbone.add_adapter(4, 4, "all", 0)
    mask = torch.ones(2, 1, 32, 32)
    condition = backbone.encode_condition(torch.zeros(2, 3, 32, 32), mask)
    noise = torch.randn(2, *backbone.latent_shape(32, 32), generator=torch.Generator().manual_seed(0))
    return backbone, Batch(
        (), noise, torch.full((2,), 0.5), noise, noise, condition, backbone.encode_text(["a"] * 2), mask
    )


def backward(backbone: Any, batch: Batch) -> None:
    backbone.predict(batch.noisy, batch.t, batch.condition, batch.text).square().sum().backward()


def nothing(backbone: Any) -> None:
    backbone.denoiser.zero_grad(set_to_none=True)


def no_number(backbone: Any) -> None:
    next(iter(backbone.trainable().values())).grad.fill_(math.nan)


def shared(backbone: Any) -> None:
    backbone.reference = nullcontext


def unused(backbone: Any) -> None:
    backbone.predict = lambda noisy, *_, **__: torch.zeros_like(noisy)


@pytest.mark.parametrize(
    ("harm", "loss", "words"),
    [
        (None, 0.71, r"preference loss is 0.7100, it must be ln 2"),
        (nothing, math.log(2), "No gradient reaches"),
        (no_number, math.log(2), "The first gradient is nan"),
        (shared, math.log(2), "moved the reference: they share weights"),
        (unused, math.log(2), "does not move the policy"),
    ],
)
def test_what_would_not_train_is_stopped(
    harm: Callable[[Any], None] | None, loss: float, words: str, pipeline_folder: Path
) -> None:
    backbone, batch = backbone_of(pipeline_folder)
    backward(backbone, batch)
    if harm:
        harm(backbone)
    layout = Layout(1, 0, 0, 0, torch.ones(1), torch.ones(1))
    terms = Terms(torch.zeros(()), {"loss_preference": loss})
    with pytest.raises(SelfCheckError, match=words) as caught:
        check_model(backbone, batch, layout, terms, frozen=True)
    assert caught.value.exit_code == ExitCode.SELF_CHECK_FAILED


def test_a_healthy_start_passes_and_leaves_the_weights_alone(pipeline_folder: Path) -> None:
    backbone, batch = backbone_of(pipeline_folder)
    backward(backbone, batch)
    before = {name: value.detach().clone() for name, value in backbone.trainable().items()}
    terms = Terms(torch.zeros(()), {"loss_preference": math.log(2)})
    found = check_model(backbone, batch, Layout(1, 0, 0, 0, torch.ones(1), torch.ones(1)), terms, frozen=True)
    assert found["policy_change"] > 0 and found["grad_norm"] > 0
    assert all(torch.equal(value, before[name]) for name, value in backbone.trainable().items())


class Covered:
    """Stands for data of which only the coverage is asked."""

    def __init__(self, cells: float) -> None:
        self.cells = cells

    def coverage(self) -> Any:
        from trainer.data.source import Coverage

        return Coverage(0.5, 0.1, 0.9, self.cells, "c3")


def test_masks_that_vanish_stop_a_run_and_thin_ones_warn() -> None:
    data: Any = Covered(40.0)
    assert check_masks(data)[1] is None
    data.cells = 2.0
    assert "condition c3 leaves only 2 latent cells" in str(check_masks(data)[1])
    data.cells = 0.1
    with pytest.raises(SelfCheckError, match=r"condition c3 leaves only 0\.1 latent cells"):
        check_masks(data)


def test_prompts_that_the_model_does_not_read_to_their_end_are_told(pipeline_folder: Path) -> None:
    backbone, _ = backbone_of(pipeline_folder)
    data: Any = Covered(40.0)
    data.conditions = [SimpleNamespace(prompt=prompt) for prompt in ("a dog", "a cat", "a dog", "a dog " * 600)]
    found, warnings = check_data(data, backbone)
    assert found["prompts_cut"] == 1
    assert "1 of 3 prompts" in warnings.pop("prompts_cut") and warnings == {}
