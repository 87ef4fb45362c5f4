"""``python -m trainer.spatialworld``: conditions, pretrain, measure, gallery."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path


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
    pretrain.add_argument("--steps", type=int, default=4000)
    pretrain.add_argument("--vae-steps", type=int, default=1800)
    pretrain.add_argument("--seed", type=int, default=0)
    pretrain.add_argument("--scenes", type=int, default=32000)
    pretrain.add_argument("--resume", action="store_true")
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
    return parser


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
    elif arguments.command == "measure":
        from trainer.spatialworld.measure import load, measure

        pipeline = load(_model(arguments.model), arguments.adapter)
        report = measure(pipeline, arguments.conditions, arguments.split, arguments.seed, arguments.steps)
        print(json.dumps(report))
    else:
        from trainer.spatialworld.gallery import drawn, sampled

        if arguments.of == "scenes":
            sheet = drawn(arguments.count, arguments.seed)
        else:
            sheet = sampled(arguments.count, arguments.seed, _model(arguments.model), arguments.adapter)
        sheet.save(arguments.out)
        print(arguments.out)


def main(argv: list[str] | None = None) -> int:
    """Run a command; errors of the user end in one sentence and exit status 2."""
    arguments = _parser().parse_args(argv)
    try:
        _run(arguments)
    except (FileNotFoundError, FileExistsError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
