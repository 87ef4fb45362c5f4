"""The commands that make a run: recipes, plan, cache, train."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainer.cli_shared import answer, command, config_from, config_options
from trainer.console import Console
from trainer.contract.checkpoint import RunFolder
from trainer.contract.config import RunConfig, apply_overrides
from trainer.contract.errors import ConfigError, SnapshotError
from trainer.contract.recipes import RECIPES, recipe_config

if TYPE_CHECKING:
    from trainer.contract.snapshot import Snapshot
    from trainer.planning.fit import Fit
    from trainer.planning.predict import Load

# --- recipes ----------------------------------------------------------------------------------------------------------


def add_recipes(commands: Any) -> None:
    """Declare `recipes`."""
    parser = command(commands, "recipes", _run_recipes, "list the recipes, or show one as a config")
    parser.add_argument("name", nargs="?", metavar="NAME", help="show this recipe's whole config as JSON")


def _run_recipes(options: argparse.Namespace) -> int:
    if options.name:
        values = recipe_config(options.name).model_dump(mode="json")
        return answer(options, values, json.dumps(values, indent=1))
    rows = [{"name": r.name, "title": r.title, "needs": r.needs, "fits": r.fits} for r in RECIPES.values()]
    return answer(options, rows, "\n".join(f"{r.name:22} {r.title}\n{'':22} {r.needs}" for r in RECIPES.values()))


# --- plan -------------------------------------------------------------------------------------------------------------


def add_plan(commands: Any) -> None:
    """Declare `plan`."""
    parser = command(
        commands, "plan", _run_plan, "say what a run will cost before anything is loaded",
        "Memory of device and host, FLOPs and time of a step, by walking through it without values: no weight is\n"
        "read, only the base's configs. `fit` says what to set so that it fits this machine.",
    )  # fmt: skip
    config_options(parser)
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
    config = config_from(options)
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
        return answer(options, short, cards_in_words(fits))
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
    return answer(options, told, plan_in_words(config, load, machine, values, chosen, picked, problem))


# --- cache ------------------------------------------------------------------------------------------------------------


def add_cache(commands: Any) -> None:
    """Declare `cache`."""
    parser = command(
        commands, "cache", _run_cache, "encode a snapshot before it is trained on",
        "Latents, conditioning, texts and CAPO's crops, and with reference.source=cache the reference's error maps.\n"
        "The same command goes on after a stop; `train --cache DIR` then finds everything there.",
    )  # fmt: skip
    config_options(parser)
    parser.add_argument("--snapshot", type=Path, required=True, metavar="DIR", help="the snapshot folder")
    parser.add_argument("--cache", type=Path, required=True, metavar="DIR", help="where it is kept; runs may share it")
    parser.add_argument("--force", action="store_true", help="compute a stale reference cache anew")


def _run_cache(options: argparse.Namespace) -> int:
    config = config_from(options)
    from trainer.prepare import fill_cache

    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C does: what was encoded is kept
    found = fill_cache(options.snapshot, config, options.cache, Console().counting, force=options.force)
    return answer(options, found, ", ".join(f"{count} {name}" for name, count in found.items()))


# --- train ------------------------------------------------------------------------------------------------------------


def add_train(commands: Any) -> None:
    """Declare `train`."""
    parser = command(
        commands, "train", _run_train, "train a LoRA on a snapshot",
        "Writes config, events.jsonl, checkpoints, samples and at last adapter/ into the run folder. SIGTERM, SIGINT\n"
        "or a file named `cancel` in the run folder stop it after the step in hand, with a checkpoint.",
    )  # fmt: skip
    config_options(parser)
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

    config, snapshot = config_from(options), read_snapshot(options.snapshot)
    console = Console()
    if os.environ.get("RANK", "0") == "0":  # torchrun's number of this process
        console.say("loading the libraries and planning the run")
    from trainer.engine import train  # before the plan, which counts what this process holds
    from trainer.parallel import Processes

    Processes.from_environment().take_device()  # the plan measures the GPU that is taken
    config, predicted = _planned(options, config, snapshot)
    result = train(
        options.snapshot, config, options.out, resume=options.resume == "auto", force=options.force,
        cache=options.cache, predicted=predicted, sinks=[console],
    )  # fmt: skip
    told = f"{result.state} after step {result.step} of {result.total_steps}: {options.out}"
    answer(options, result.model_dump(mode="json"), told)
    return result.exit_code
