"""``python -m trainer.spatialworld``: conditions, pretrain, ship, measure, gallery, study."""

from __future__ import annotations

import argparse
import json
import signal
import sys
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

from trainer.contract.errors import TrainerError, disk_problem


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m trainer.spatialworld", description="A world with an exact judge.")
    commands = parser.add_subparsers(dest="command", required=True)
    conditions = commands.add_parser("conditions", help="write conditions as an import manifest with PNGs")
    conditions.add_argument("--count", type=int, default=64)
    conditions.add_argument("--seed", type=int, default=0)
    conditions.add_argument("--split", choices=("train", "validation", "both"), default="both")
    conditions.add_argument("--out", type=Path, required=True)
    pretrain = commands.add_parser("pretrain", help="train the autoencoder's decoder and the transformer from nothing")
    pretrain.add_argument("--out", type=Path, required=True, help="folder of states, log and the finished pipeline")
    pretrain.add_argument("--steps", type=int, default=9000)
    pretrain.add_argument("--vae-steps", type=int, default=1800)
    pretrain.add_argument("--seed", type=int, default=0)
    pretrain.add_argument("--scenes", type=int, default=64000)
    pretrain.add_argument("--resume", action="store_true")
    ship = commands.add_parser("ship", help="put what pretrain made where it can be shipped, in bfloat16")
    ship.add_argument("--pretraining", type=Path, required=True, help="the folder that pretrain wrote")
    ship.add_argument("--out", type=Path, required=True, help="folder of the shipped pipeline; replaced if it is there")
    measure = commands.add_parser("measure", help="sample and judge: prints one line of JSON")
    measure.add_argument("--model", type=Path, help="pipeline folder; the shipped weights if left out")
    measure.add_argument("--adapter", type=Path, help="a LoRA folder or file")
    measure.add_argument("--conditions", type=int, default=320)
    measure.add_argument("--split", choices=("train", "validation"), default="validation")
    measure.add_argument("--seed", type=int, default=4242)
    measure.add_argument("--steps", type=int, help="sampling steps")
    gallery = commands.add_parser("gallery", help="a page of 48 images with the judge's verdicts")
    gallery.add_argument("--out", type=Path, required=True)
    gallery.add_argument("--of", choices=("scenes", "samples"), default="samples")
    gallery.add_argument("--model", type=Path)
    gallery.add_argument("--adapter", type=Path)
    gallery.add_argument("--count", type=int, default=48)
    gallery.add_argument("--seed", type=int, default=4242)
    _add_study(commands)
    return parser


def _add_study(commands: Any) -> None:
    study = commands.add_parser(
        "study",
        help="train and measure every objective on the same pairs; resumable, writes a report",
        description="Makes candidates, pairs them by the exact judge, trains every arm at every seed, measures them on "
        "held-out conditions and writes study.md. Started again on the same folder it goes on where it stopped.",
    )
    study.add_argument(
        "--scale", choices=("smoke", "cpu", "gpu"), default="smoke", help="how large; gpu also makes a larger base"
    )
    study.add_argument("--out", type=Path, help="folder of the study; var/study/SCALE if left out")
    study.add_argument(
        "--base", help="pipeline folder to tune; if left out the shipped weights, for gpu a larger one made first"
    )
    study.add_argument("--workers", type=int, help="processes; as many as cores for scale cpu, else one")
    study.add_argument("--report", type=Path, help="where study.md goes; the study's folder if left out")
    study.add_argument("--only-report", action="store_true", help="write the report from what is there, train nothing")


def _model(given: Path | None) -> Path:
    from trainer.spatialworld import pipeline_path

    return given if given is not None else pipeline_path()


def _run(arguments: argparse.Namespace) -> None:
    if arguments.command == "conditions":
        from trainer.spatialworld.conditions import conditions_of, write_conditions

        made = conditions_of(arguments.count, arguments.seed, arguments.split)
        print(write_conditions(made, arguments.out))
    elif arguments.command == "pretrain":
        from trainer.spatialworld.recipe import pretrain_all

        print(
            pretrain_all(
                arguments.out, arguments.steps, arguments.vae_steps, arguments.seed, arguments.scenes, arguments.resume
            )
        )
    elif arguments.command == "ship":
        from trainer.spatialworld.recipe import ship

        print(ship(arguments.pretraining / "pipeline", arguments.pretraining / "vae", arguments.out))
    elif arguments.command == "measure":
        from trainer.spatialworld.measure import load, measure

        pipeline = load(_model(arguments.model), arguments.adapter)
        report = measure(pipeline, arguments.conditions, arguments.split, arguments.seed, arguments.steps)
        print(json.dumps(report))
    elif arguments.command == "study":
        _study(arguments)
    else:
        from trainer.spatialworld.gallery import drawn, sampled

        if arguments.of == "scenes":
            sheet = drawn(arguments.count, arguments.seed)
        else:
            sheet = sampled(arguments.count, arguments.seed, _model(arguments.model), arguments.adapter)
        sheet.save(arguments.out)
        print(arguments.out)


def _study(arguments: argparse.Namespace) -> None:
    from trainer.spatialworld.study.report import write_report
    from trainer.spatialworld.study.run import open_study, run_study

    signal.signal(signal.SIGTERM, signal.default_int_handler)  # a stop by a supervisor is a stop by the user
    out = arguments.out or Path("var/study") / arguments.scale
    study = open_study(arguments.scale, out, arguments.base, arguments.workers)
    if not arguments.only_report:
        run_study(study)
    command = f"python -m trainer.spatialworld study --scale {arguments.scale}"
    print(write_report(study, arguments.report or out, command))


def main(argv: list[str] | None = None) -> int:
    """Run a command; errors of the user end in one sentence and exit status 2, a stop by the user in 130."""
    arguments = _parser().parse_args(argv)
    try:
        _run(arguments)
    except KeyboardInterrupt:
        print("stopped; the same command goes on from here", file=sys.stderr)
        return 130
    except BrokenProcessPool:
        print("error: a worker died, out of memory perhaps; the same command goes on from here", file=sys.stderr)
        return 1
    except (OSError, ValueError, TrainerError) as error:
        print(f"error: {disk_problem(error) or error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
