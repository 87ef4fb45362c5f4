"""The commands that use what a run has made: sample, evaluate, export."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainer.cli_shared import answer, command, config_from, config_options, count, table
from trainer.console import Console
from trainer.contract.checkpoint import RunFolder
from trainer.contract.config import RunConfig, apply_overrides
from trainer.contract.errors import ConfigError, ExitCode

if TYPE_CHECKING:
    from trainer.contract.sampling import SampleRequest

# --- sample -----------------------------------------------------------------------------------------------------------


def add_sample(commands: Any) -> None:
    """Declare `sample`."""
    parser = command(
        commands, "sample", _run_sample, "make images for a request file, or of a snapshot's held-out conditions",
        "Appends to DIR/results.jsonl as each batch is done; keys that are there already are skipped, so the same\n"
        "command goes on after a stop. A folder with images of another generator, seed or condition is refused.\n"
        "SIGTERM or a file DIR/cancel stop it between two batches.\n"
        "With a snapshot, base and sampler are those of the recipe or config (model.base, samples.steps, ...).",
    )  # fmt: skip
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--request", type=Path, metavar="FILE", help="see trainer.contract.sampling")
    what.add_argument("--snapshot", type=Path, metavar="DIR", help="a snapshot folder; needs --recipe or --config")
    config_options(parser, required=False)
    parser.add_argument(
        "--adapter", type=Path, metavar="PATH",
        help="with a snapshot: a LoRA's folder or file, or a run's folder; else the config's model.adapter, if any",
    )  # fmt: skip
    parser.add_argument("--images", type=count, default=16, metavar="N", help="with a snapshot: how many (16)")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="where results and images go")
    parser.add_argument("--threads", type=count, metavar="N", help="CPU threads")


def _sample_request(options: argparse.Namespace) -> SampleRequest:
    from trainer.contract.sampling import load_request, request_of
    from trainer.contract.snapshot import read_snapshot

    named = options.recipe or options.config
    if options.request:
        if named or options.set or options.adapter:
            raise ConfigError("sample_twice", "A request file says itself what draws; give it alone, or a snapshot.")
        return load_request(options.request)
    if not named:
        raise ConfigError("sample_of_what", "A snapshot's images need --recipe or --config.")
    snapshot, adapter = read_snapshot(options.snapshot), options.adapter
    return request_of(snapshot, config_from(options), adapter=adapter, images=options.images)


def _run_sample(options: argparse.Namespace) -> int:
    request = _sample_request(options)
    import torch

    from trainer.sampling import run_request
    from trainer.start import stop_requests

    if options.threads:
        torch.set_num_threads(options.threads)
    with stop_requests(RunFolder(options.out), "batch") as stop:
        left = run_request(request, options.out, cancelled=lambda: bool(stop), on_batch=Console().counting("sample"))
    done = len(request.items) - left
    answer(options, {"done": done, "left": left}, f"{done} images in {options.out}" + f", {left} left" * bool(left))
    return ExitCode.CANCELLED if left else ExitCode.FINISHED


# --- evaluate ---------------------------------------------------------------------------------------------------------


def add_evaluate(commands: Any) -> None:
    """Declare `evaluate`."""
    parser = command(
        commands, "evaluate", _run_evaluate, "measure a generator on a snapshot's held-out part",
        "Of its images roughness, diversity, error inside the subject, the subject's expansion and the coherence of\n"
        "the band around it, and for SpatialWorld's conditions rationality by the exact judge; with an adapter also\n"
        "D_w, D_l, margin and accuracy on held-out pairs. 320 images give rationality a standard error of 2.7 points.",
    )  # fmt: skip
    parser.add_argument("--snapshot", type=Path, required=True, metavar="DIR", help="the snapshot folder")
    parser.add_argument("--base", help="spatialworld, a folder or a hub id; without it the recipe's, else spatialworld")
    parser.add_argument(
        "--adapter", type=Path, metavar="PATH",
        help="a LoRA or a run's folder, else the config's model.adapter; none measures the base",
    )  # fmt: skip
    parser.add_argument("--images", type=count, default=320, metavar="N", help="how many to draw (320)")
    parser.add_argument("--steps", type=int, metavar="N", help="of the sampler; else the config's samples.steps")
    parser.add_argument("--guidance", type=float, metavar="G", help="else the config's samples.guidance")
    parser.add_argument(
        "--seed", type=int, metavar="N",
        help="of the first image of each condition, further ones count on from it; else the config's samples.seed",
    )  # fmt: skip
    parser.add_argument("--threads", type=count, metavar="N", help="CPU threads")
    config_options(parser, required=False)


def _evaluated(options: argparse.Namespace) -> RunConfig:
    config = config_from(options) if options.config or options.recipe else apply_overrides(RunConfig(), options.set)
    named = {"model.base": options.base} | {
        f"samples.{key}": getattr(options, key) for key in ("steps", "guidance", "seed")
    }
    return apply_overrides(config, {key: value for key, value in named.items() if value is not None})


def _run_evaluate(options: argparse.Namespace) -> int:
    from trainer.contract.sampling import SamplerSettings
    from trainer.contract.snapshot import read_snapshot

    config, snapshot = _evaluated(options), read_snapshot(options.snapshot)
    import torch

    from trainer.backbones.load import load_backbone
    from trainer.evaluation.images import measure_images, measured_conditions
    from trainer.evaluation.pairs import measure_pairs

    rows = measured_conditions(snapshot)
    if options.threads:
        torch.set_num_threads(options.threads)
    backbone = load_backbone(config.model.base, revision=config.model.revision, dtype=config.model.dtype)
    values: dict[str, float] = {}
    if adapter := options.adapter or config.model.adapter:
        backbone.load_adapter(Path(adapter))
        values |= measure_pairs(snapshot, backbone, config)
    samples = config.samples
    sampler = SamplerSettings(steps=samples.steps, guidance=samples.guidance)
    values |= measure_images(snapshot, backbone, rows, images=options.images, sampler=sampler, seed=samples.seed)
    return answer(options, values, table(values))


# --- export -----------------------------------------------------------------------------------------------------------


def add_export(commands: Any) -> None:
    """Declare `export`."""
    parser = command(
        commands, "export", _run_export, "copy out what a run has trained, or a recipe's pipeline with an adapter",
        "A run's LoRA, a checkpoint's checked by its hash, can be given to `load_lora_weights` of the base's own\n"
        "pipeline; under full fine-tuning a finished run gives a whole pipeline for `from_pretrained`, a checkpoint\n"
        "only its transformer or UNet. A recipe or config gives its base as a whole pipeline, with\n"
        "`--set model.adapter=RUN` in its weights: a base for further tuning, or for where no LoRA can be loaded.",
    )  # fmt: skip
    parser.add_argument("--run", dest="run_folder", type=Path, metavar="RUNDIR", help="a run's folder")
    parser.add_argument("--step", type=int, help="a checkpoint's step; without it the final adapter, else the newest")
    config_options(parser, required=False)
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="a new folder")


def _run_export(options: argparse.Namespace) -> int:
    from trainer.export import copy_out, export_pipeline, trained_by

    named = options.recipe or options.config
    if bool(options.run_folder) == bool(named):
        raise ConfigError("export_of_what", "Name either --run, or --recipe or --config.")
    if options.run_folder and options.set:
        raise ConfigError("export_as_trained", "A run is exported as it was trained; --set goes with a recipe.")
    if options.step is not None and not options.run_folder:
        raise ConfigError("step_of_what", "--step names a checkpoint of a run; give --run.")
    if options.out.exists():
        raise ConfigError("out_exists", f"{options.out} exists already; name a new folder.")
    if named:
        config = config_from(options)
        export_pipeline(config, options.out)
        values = {"model": str(options.out), "base": config.model.base, "adapter": config.model.adapter}
        return answer(options, values, str(options.out))
    source = trained_by(options.run_folder, options.step)
    copy_out(source, options.out)
    return answer(options, {source.name: str(options.out), "source": str(source)}, str(options.out))
