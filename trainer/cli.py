"""`python -m trainer`: recipes, plan, cache, train, sample, evaluate, export.

torch is imported by the command that computes, so that help and errors come at once.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
import traceback
import warnings
from typing import Any, NoReturn

from trainer.cli_shared import EXITS
from trainer.cli_train import add_cache, add_plan, add_recipes, add_train
from trainer.cli_use import add_evaluate, add_export, add_sample
from trainer.contract.errors import CancelledError, ExitCode, TrainerError, disk_problem


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
    add_recipes(commands)
    add_plan(commands)
    add_cache(commands)
    add_train(commands)
    add_sample(commands)
    add_evaluate(commands)
    add_export(commands)
    return parser
