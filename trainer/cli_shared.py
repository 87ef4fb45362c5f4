"""What the commands share: their options for a config, and how they answer."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from trainer.contract.config import RunConfig, apply_overrides, load_config
from trainer.contract.errors import ConfigError, ExitCode
from trainer.contract.recipes import recipe_config

EXITS = "exit codes: " + ", ".join(f"{code.value} {code.name.lower().replace('_', ' ')}" for code in ExitCode)


def command(commands: Any, name: str, run: Any, words: str, more: str = "") -> argparse.ArgumentParser:
    """A command that is done by `run`, described by `words` and `more`."""
    parser = commands.add_parser(
        name, help=words, description=f"{words}. {more}".strip(), epilog=EXITS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("--json", action="store_true", help="end with one line of JSON on stdout")
    parser.set_defaults(run=run)
    return parser


def config_options(parser: argparse.ArgumentParser, required: bool = True) -> None:
    """Declare --recipe or --config, --set and --card."""
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


def count(text: str) -> int:
    """A whole number above 0, as an option's type."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is no whole number above 0")
    return int(text)


def config_from(options: argparse.Namespace) -> RunConfig:
    """The config that these options name. Raises ConfigError."""
    if options.config and options.card:
        raise ConfigError("card_of_what", "Only recipes were fitted to cards; for a config file take `train --fit`.")
    config = load_config(options.config) if options.config else recipe_config(options.recipe, options.card)
    return apply_overrides(config, options.set)


def answer(options: argparse.Namespace, values: Mapping[str, Any] | Sequence[Any], words: str) -> int:
    """The end of a command that went well: its values as a line of JSON where asked for, else in words."""
    print(json.dumps(values) if options.json else words)
    return int(ExitCode.FINISHED)


def table(values: Mapping[str, float]) -> str:
    """A line for each value."""
    return "\n".join(f"{name:28} {value:,.6g}" for name, value in values.items())
