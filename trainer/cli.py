"""`python -m trainer`: recipes, plan, cache, train, sample, evaluate, export.

torch is imported by the command that computes, so that help and errors come at once.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import signal
import sys
import traceback
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from trainer.console import Console
from trainer.contract.checkpoint import RunFolder
from trainer.contract.config import RunConfig, apply_overrides, load_config
from trainer.contract.errors import (
    CancelledError,
    ConfigError,
    ExitCode,
    SnapshotError,
    TrainerError,
    disk_problem,
)
from trainer.contract.recipes import RECIPES, recipe_config

if TYPE_CHECKING:
    from trainer.contract.sampling import SampleRequest
    from trainer.contract.snapshot import Snapshot
    from trainer.planning.fit import Fit
    from trainer.planning.predict import Load

EXITS = "exit codes: " + ", ".join(f"{code.value} {code.name.lower().replace('_', ' ')}" for code in ExitCode)


def main(arguments: list[str] | None = None) -> int:
    """Run one command; returns the process's exit code."""
    options = _parser().parse_args(arguments)
    _prepare_process()
    try:
        return int(options.run(options))
    except TrainerError as error:
        return _tell(error, options)
    except KeyboardInterrupt:
        words = "The same command goes on from here; `train` takes --resume auto once it has a checkpoint."
        return _tell(CancelledError("stopped", words), options)
    except BrokenPipeError:
        return int(ExitCode.FAILED)
    except Exception as error:
        if problem := disk_problem(error):
            return _tell(problem, options)
        traceback.print_exc()
        if options.json:
            _tell_programs("unforeseen", f"{type(error).__name__}: {error}")
        return int(ExitCode.FAILED)


def _tell_programs(code: str, message: str) -> None:
    print(json.dumps({"error": code, "message": message}))


def _tell(error: TrainerError, options: argparse.Namespace) -> int:
    if options.json:
        _tell_programs(error.code, error.message)
    print(f"{error.code}: {error.message}", file=sys.stderr)
    return int(error.exit_code)


def _prepare_process() -> None:
    """Before torch is imported: how its threads wait, and that libraries keep their bars and advice to themselves.

    By default OpenMP threads spin for milliseconds at every barrier: beside other busy processes (a web server on the
    same two cores) that cost nine times the CPU seconds of the work itself, against 1.5 times with short spins.
    """
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("DIFFUSERS_VERBOSITY", "critical")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TQDM_DISABLE", "1")
    logging.getLogger("torch.distributed.elastic").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", category=FutureWarning)


class _Parser(argparse.ArgumentParser):
    """Ends a wrong command line with its exit code, and with a line of JSON where the line asks for one."""

    _json = False

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        self._json = "--json" in (sys.argv[1:] if args is None else args)
        return super().parse_known_args(args, namespace)

    def error(self, message: str) -> NoReturn:
        self.print_usage(sys.stderr)
        if self._json:
            _tell_programs("command_line", message)
        self.exit(int(ExitCode.BAD_CONFIG), f"{self.prog}: {message}\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="python -m trainer",
        description="Preference training for foreground-conditioned inpainting (our reading of MaskDPO, CAPO, SCPO).",
        epilog=EXITS,
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _recipes(commands)
    _plan(commands)
    _cache(commands)
    _train(commands)
    _sample(commands)
    _evaluate(commands)
    _export(commands)
    return parser


def _command(commands: Any, name: str, run: Any, words: str, more: str = "") -> argparse.ArgumentParser:
    parser = commands.add_parser(
        name, help=words, description=f"{words}. {more}".strip(), epilog=EXITS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("--json", action="store_true", help="end with one line of JSON on stdout")
    parser.set_defaults(run=run)
    return parser


def _config_options(parser: argparse.ArgumentParser, required: bool = True) -> None:
    source = parser.add_mutually_exclusive_group(required=required)
    source.add_argument("--recipe", metavar="NAME", help="a named starting point (see `recipes`)")
    source.add_argument("--config", type=Path, metavar="FILE", help="a JSON or YAML file of the config tree")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE",
        help="change one value, e.g. --set objective.beta=300 (value as JSON, else text); repeatable",
    )  # fmt: skip

    parser.add_argument(
        "--card", type=int, metavar="GB",
        help="take a recipe as the planner fitted it to a GPU of so much memory: 24, 48, 80 or 140",
    )  # fmt: skip


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is no whole number above 0")
    return int(text)


def _config(options: argparse.Namespace) -> RunConfig:
    if options.config and options.card:
        raise ConfigError("card_of_what", "Only recipes were fitted to cards; for a config file take `train --fit`.")
    config = load_config(options.config) if options.config else recipe_config(options.recipe, options.card)
    return apply_overrides(config, options.set)


def _answer(options: argparse.Namespace, values: Mapping[str, Any] | Sequence[Any], words: str) -> int:
    """The end of a command that went well: its values as a line of JSON where asked for, else in words."""
    print(json.dumps(values) if options.json else words)
    return int(ExitCode.FINISHED)


def _table(values: Mapping[str, float]) -> str:
    return "\n".join(f"{name:28} {value:,.6g}" for name, value in values.items())


# --- recipes ----------------------------------------------------------------------------------------------------------


def _recipes(commands: Any) -> None:
    parser = _command(commands, "recipes", _run_recipes, "list the recipes, or show one as a config")
    parser.add_argument("name", nargs="?", metavar="NAME", help="show this recipe's whole config as JSON")


def _run_recipes(options: argparse.Namespace) -> int:
    if options.name:
        values = recipe_config(options.name).model_dump(mode="json")
        return _answer(options, values, json.dumps(values, indent=1))
    rows = [{"name": r.name, "title": r.title, "needs": r.needs, "fits": r.fits} for r in RECIPES.values()]
    return _answer(options, rows, "\n".join(f"{r.name:22} {r.title}\n{'':22} {r.needs}" for r in RECIPES.values()))


# --- plan -------------------------------------------------------------------------------------------------------------


def _plan(commands: Any) -> None:
    parser = _command(
        commands, "plan", _run_plan, "say what a run will cost before anything is loaded",
        "Memory of device and host, FLOPs and time of a step, by walking through it without values: no weight is\n"
        "read, only the base's configs. `fit` says what to set so that it fits this machine.",
    )  # fmt: skip
    _config_options(parser)
    images = parser.add_mutually_exclusive_group()
    images.add_argument("--snapshot", type=Path, metavar="DIR", help="take its image size and number of pairs")
    images.add_argument("--size", type=int, metavar="PIXELS", help="side of the images, without a snapshot")
    parser.add_argument("--cards", action="store_true", help="say what fits cards of 24, 48, 80 and 140 GB instead")


def _load(options: argparse.Namespace, config: RunConfig) -> Load:
    from trainer.contract.snapshot import read_snapshot
    from trainer.planning.predict import load_of, load_of_size

    if options.snapshot:
        return load_of(read_snapshot(options.snapshot), config)
    usual = RECIPES[options.recipe].size if options.recipe else 1024
    return load_of_size(usual if options.size is None else options.size, config)


def _run_plan(options: argparse.Namespace) -> int:
    config = _config(options)
    load = _load(options, config)
    from trainer.planning.fit import fit, fitted_cards
    from trainer.planning.machine import this_machine
    from trainer.planning.predict import predict
    from trainer.planning.words import cards_in_words, plan_in_words

    if options.cards:
        fits = fitted_cards(config, load)
        short = {
            size: found and {key.removeprefix("training."): value for key, value in found.overrides.items()}
            for size, found in fits.items()
        }
        return _answer(options, short, cards_in_words(fits))
    machine = this_machine()
    values = predict(config, load, machine)
    chosen: Fit | None = None
    problem, picked = "", dict[str, float]()
    try:
        chosen = fit(config, load, machine)
        fitted, held = apply_overrides(config, chosen.overrides), int(values["baseline_bytes"])
        picked = predict(fitted, load, machine, baseline=held) if chosen.changes else values
    except ConfigError as error:
        problem = error.message
    told = {
        "config_hash": config.config_hash(), "machine": machine.name, "machine_bytes": machine.memory, **values,
        "fit": chosen.overrides if chosen else {"does_not_fit": problem},
        "fit_why": chosen.why if chosen else None, "fit_values": picked,
    }  # fmt: skip
    return _answer(options, told, plan_in_words(config, load, machine, values, chosen, picked, problem))


# --- cache ------------------------------------------------------------------------------------------------------------


def _cache(commands: Any) -> None:
    parser = _command(
        commands, "cache", _run_cache, "encode a snapshot before it is trained on",
        "Latents, conditioning, texts and CAPO's crops, and with reference.source=cache the reference's error maps.\n"
        "The same command goes on after a stop; `train --cache DIR` then finds everything there.",
    )  # fmt: skip
    _config_options(parser)
    parser.add_argument("--snapshot", type=Path, required=True, metavar="DIR", help="the snapshot folder")
    parser.add_argument("--cache", type=Path, required=True, metavar="DIR", help="where it is kept; runs may share it")
    parser.add_argument("--force", action="store_true", help="compute a stale reference cache anew")


def _run_cache(options: argparse.Namespace) -> int:
    config = _config(options)
    from trainer.prepare import fill_cache

    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C does: what was encoded is kept
    found = fill_cache(options.snapshot, config, options.cache, Console().counting, force=options.force)
    return _answer(options, found, ", ".join(f"{count} {name}" for name, count in found.items()))


# --- train ------------------------------------------------------------------------------------------------------------


def _train(commands: Any) -> None:
    parser = _command(
        commands, "train", _run_train, "train a LoRA on a snapshot",
        "Writes config, events.jsonl, checkpoints, samples and at last adapter/ into the run folder. SIGTERM, SIGINT\n"
        "or a file named `cancel` in the run folder stop it after the step in hand, with a checkpoint.",
    )  # fmt: skip
    _config_options(parser)
    parser.add_argument("--snapshot", type=Path, required=True, metavar="DIR", help="the snapshot folder")
    parser.add_argument("--out", type=Path, required=True, metavar="RUNDIR", help="the run folder, new unless resumed")
    parser.add_argument(
        "--resume", nargs="?", const="auto", choices=["auto", "never"], default="never",
        help="auto: go on from the last good checkpoint in RUNDIR, or start there if there is none",
    )  # fmt: skip
    parser.add_argument("--force", action="store_true", help="resume although snapshot or config changed")
    parser.add_argument(
        "--cache", type=Path, metavar="DIR",
        help="keep what is encoded in DIR, which runs may share; else it goes with the finished run",
    )  # fmt: skip
    parser.add_argument(
        "--fit", action="store_true",
        help="let the planner set micro-batch, checkpointing, encoding batch and, where no frozen copy fits, a cached "
        "reference for this machine; a resumed run keeps what was set",
    )  # fmt: skip


def _planned(options: argparse.Namespace, config: RunConfig, snapshot: Snapshot) -> tuple[RunConfig, dict[str, float]]:
    """The config a new run starts with, fitted where asked for, and what it is predicted to cost."""
    from trainer.planning.fit import FITTED, fit
    from trainer.start import config_before, holds_training

    folder = RunFolder(options.out)
    if holds_training(folder):
        before = config_before(folder, force=options.force) if options.fit else config
        if before:
            kept = {f"training.{name}": getattr(before.training, name) for name in FITTED}
            return apply_overrides(config, {**kept, "reference.source": before.reference.source}), {}
    from trainer.planning.machine import this_machine
    from trainer.planning.predict import load_of, predict

    try:
        load = load_of(snapshot, config)
    except SnapshotError:
        return config, {}  # the run refuses it as well, and leaves its words in the run folder
    machine = this_machine()
    if options.fit:
        chosen = fit(config, load, machine, int(os.environ.get("WORLD_SIZE", "1")))
        config = apply_overrides(config, chosen.overrides)
        print(f"fitted to {machine.name}: {chosen.why}", file=sys.stderr)
    return config, predict(config, load, machine)


def _run_train(options: argparse.Namespace) -> int:
    from trainer.contract.snapshot import read_snapshot

    config, snapshot = _config(options), read_snapshot(options.snapshot)
    console = Console()
    if os.environ.get("RANK", "0") == "0":  # torchrun's number of this process
        console.say("loading the libraries and planning the run")
    from trainer.engine import train  # before the plan, which counts what this process holds

    config, predicted = _planned(options, config, snapshot)
    result = train(
        options.snapshot, config, options.out, resume=options.resume == "auto", force=options.force,
        cache=options.cache, predicted=predicted, sinks=[console],
    )  # fmt: skip
    told = f"{result.state} after step {result.step} of {result.total_steps}: {options.out}"
    _answer(options, result.model_dump(mode="json"), told)
    return result.exit_code


# --- sample -----------------------------------------------------------------------------------------------------------


def _sample(commands: Any) -> None:
    parser = _command(
        commands, "sample", _run_sample, "make images for a request file, or of a snapshot's held-out conditions",
        "Appends to DIR/results.jsonl as each batch is done; keys that are there already are skipped, so the same\n"
        "command goes on after a stop. A folder with images of another generator, seed or condition is refused.\n"
        "SIGTERM or a file DIR/cancel stop it between two batches.\n"
        "With a snapshot, base and sampler are those of the recipe or config (model.base, samples.steps, ...).",
    )  # fmt: skip
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--request", type=Path, metavar="FILE", help="see trainer.contract.sampling")
    what.add_argument("--snapshot", type=Path, metavar="DIR", help="a snapshot folder; needs --recipe or --config")
    _config_options(parser, required=False)
    parser.add_argument(
        "--adapter", type=Path, metavar="PATH",
        help="with a snapshot: a LoRA's folder or file, or a run's folder; else the config's model.adapter, if any",
    )  # fmt: skip
    parser.add_argument("--images", type=_count, default=16, metavar="N", help="with a snapshot: how many (16)")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="where results and images go")
    parser.add_argument("--threads", type=_count, metavar="N", help="CPU threads")


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
    return request_of(snapshot, _config(options), adapter=adapter, images=options.images)


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
    _answer(options, {"done": done, "left": left}, f"{done} images in {options.out}" + f", {left} left" * bool(left))
    return ExitCode.CANCELLED if left else ExitCode.FINISHED


# --- evaluate ---------------------------------------------------------------------------------------------------------


def _evaluate(commands: Any) -> None:
    parser = _command(
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
    parser.add_argument("--images", type=_count, default=320, metavar="N", help="how many to draw (320)")
    parser.add_argument("--steps", type=int, metavar="N", help="of the sampler; else the config's samples.steps")
    parser.add_argument("--guidance", type=float, metavar="G", help="else the config's samples.guidance")
    parser.add_argument(
        "--seed", type=int, metavar="N",
        help="of the first image of each condition, further ones count on from it; else the config's samples.seed",
    )  # fmt: skip
    parser.add_argument("--threads", type=_count, metavar="N", help="CPU threads")
    _config_options(parser, required=False)


def _evaluated(options: argparse.Namespace) -> RunConfig:
    config = _config(options) if options.config or options.recipe else apply_overrides(RunConfig(), options.set)
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
    return _answer(options, values, _table(values))


# --- export -----------------------------------------------------------------------------------------------------------


def _export(commands: Any) -> None:
    parser = _command(
        commands, "export", _run_export, "copy out what a run has trained, or a recipe's pipeline with an adapter",
        "A run's LoRA, a checkpoint's checked by its hash, can be given to `load_lora_weights` of the base's own\n"
        "pipeline; under full fine-tuning a finished run gives a whole pipeline for `from_pretrained`, a checkpoint\n"
        "only its transformer or UNet. A recipe or config gives its base as a whole pipeline, with\n"
        "`--set model.adapter=RUN` in its weights: a base for further tuning, or for where no LoRA can be loaded.",
    )  # fmt: skip
    parser.add_argument("--run", dest="run_folder", type=Path, metavar="RUNDIR", help="a run's folder")
    parser.add_argument("--step", type=int, help="a checkpoint's step; without it the final adapter, else the newest")
    _config_options(parser, required=False)
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
        config = _config(options)
        export_pipeline(config, options.out)
        values = {"model": str(options.out), "base": config.model.base, "adapter": config.model.adapter}
        return _answer(options, values, str(options.out))
    source = trained_by(options.run_folder, options.step)
    copy_out(source, options.out)
    return _answer(options, {source.name: str(options.out), "source": str(source)}, str(options.out))
