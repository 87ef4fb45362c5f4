"""LoRA training with MaskDPO: this trainer beside a plain loop, on the same weights, data and noise.

    python bench/train.py [--quick] [--steps N] [--pairs N] [--reference model|cache] [--threads N]
    python bench/train.py --device cuda          # FLUX-12B-shaped random weights at 1024 px in bfloat16, see below

Each side runs in a process of its own, so that its peak memory is its own. Speed is that of the steps; what each does
before its first step (loading, and for ours encoding and the reference's error maps) is told apart and also counted in.
Losses of both are compared step by step. The plain loop is `bench/train_reference.py`.

On a GPU the transformer of FLUX.1 Fill is built with random weights and steps are timed without data or text encoders:
MaskDPO alone and the full objective, pairs/s, model FLOP utilisation by counted FLOPs, peak memory.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parent))

WARM_UP = 1
"""Steps left out of the speed: the first one allocates."""


def config_of(given: argparse.Namespace, base: Path) -> Any:
    """MaskDPO alone in float32: what both sides train."""
    from trainer.contract.config import RunConfig

    off: dict[str, Any] = {"weight": 0.0}
    values = {
        "model": {"base": str(base), "dtype": "float32"},
        "lora": {"rank": 16, "targets": "all"},
        "objective": {"beta": 2000.0, "capo": off, "scpo": off, "replay": off},
        "reference": {"source": given.reference, "draws": 2},
        "optimizer": {"learning_rate": 1e-4},
        "training": {
            "steps": given.steps, "pairs_per_step": given.pairs, "micro_batch": given.micro_batch, "log_every": 1,
            "threads": given.threads,
        },
        "validation": {"every": 0},
        "samples": {"every": 0},
        "checkpoints": {"every": given.steps},
    }  # fmt: skip
    return RunConfig.model_validate(values)


def run_ours(given: argparse.Namespace, work: Path) -> dict[str, Any]:
    """The trainer itself, as `python -m trainer train` runs it."""
    from trainer import engine
    from trainer.contract.events import read_events

    cpu: list[float] = []
    step_of = engine._Run._train_step

    def timed(run: Any) -> Any:
        start = time.process_time()
        figures = step_of(run)
        cpu.append(time.process_time() - start)
        return figures

    engine._Run._train_step = timed  # type: ignore[method-assign]  # the event stream tells seconds, not CPU seconds
    begun = time.perf_counter()
    engine.train(work / "snapshot", config_of(given, work / "base"), work / "run")
    whole = time.perf_counter() - begun
    steps = [event.values for event in read_events(work / "run" / "events.jsonl")[0] if event.kind == "metrics"]
    return told([step["loss"] for step in steps], [step["seconds_per_step"] for step in steps], cpu, whole, given)


def run_reference(given: argparse.Namespace, work: Path) -> dict[str, Any]:
    """The plain loop on the same order of pairs and the same noise."""
    import torch
    from train_reference import train

    from trainer.contract.snapshot import read_snapshot
    from trainer.data.order import PairOrder
    from trainer.noise import gaussian, generator, timestep

    torch.set_num_threads(given.threads)
    config, snapshot = config_of(given, work / "base"), read_snapshot(work / "snapshot")
    seed, objective = config.training.seed, config.objective

    def noise_of(pair: Any, step: int, shape: tuple[int, ...]) -> tuple[Any, float]:
        draws = config.reference.draws
        draw = step
        if config.reference.source == "cache":
            draw = int(generator(seed, "reference draw", pair.pair_id, step).integers(draws))
        noise = gaussian(shape, seed, pair.pair_id, draw, "pair noise")
        return noise, timestep(objective.t_min, objective.t_max, seed, pair.pair_id, draw, "pair timestep")

    pairs = snapshot.pairs_of("train")
    order = PairOrder([(given.side, given.side)] * len(pairs), config.training.pairs_per_step, seed)
    begun = time.perf_counter()
    losses, seconds, cpu = train(work / "base", snapshot, config, order.at, noise_of)
    return told(losses, seconds, cpu, time.perf_counter() - begun, given)


def told(
    losses: list[float], seconds: list[float], cpu: list[float], whole: float, given: argparse.Namespace
) -> dict[str, Any]:
    """What a side's process says of itself."""
    step = statistics.median(seconds[WARM_UP:])
    return {
        "pairs_per_second": round(given.pairs / step, 4),
        "seconds_per_step": round(step, 4),
        "seconds_before_first_step": round(whole - sum(seconds), 2),
        "pairs_per_second_with_start": round(given.pairs * len(seconds) / whole, 4),
        "cpu_seconds_per_pair": round(statistics.median(cpu[WARM_UP:]) / given.pairs, 4),
        "cpu_seconds_in_all": round(time.process_time(), 1),
        "peak_memory_mib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1),
        "losses": losses,
    }


def side(name: str, work: Path) -> dict[str, Any]:
    """Run a side in its own process and return its figures."""
    command = [sys.executable, __file__, *sys.argv[1:], "--side", name, "--work", str(work)]
    environment = {**os.environ, "GOMP_SPINCOUNT": "1000"}
    done = subprocess.run(command, stdout=subprocess.PIPE, env=environment, check=True, text=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def compare(given: argparse.Namespace) -> dict[str, Any]:
    """Both sides on one freshly built pipeline and snapshot."""
    import train_model

    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        side("build", work)  # not in this process: its children would inherit its peak memory as theirs
        baseline = side("nothing", work)["peak_memory_mib"]
        peer, ours = side("reference", work), side("ours", work)
        sizes = train_model.parameters(work / "base")
    difference = max(abs(a - b) for a, b in zip(ours.pop("losses"), peer.pop("losses"), strict=True))
    return {
        "name": "train",
        "model": sizes,
        "metrics": {
            **ours,
            "speedup": round(ours["pairs_per_second"] / peer["pairs_per_second"], 2),
            "speedup_in_cpu_seconds": round(peer["cpu_seconds_per_pair"] / ours["cpu_seconds_per_pair"], 2),
            "memory_ratio": round(ours["peak_memory_mib"] / peer["peak_memory_mib"], 3),
            "memory_ratio_above_imports": round(
                (ours["peak_memory_mib"] - baseline) / (peer["peak_memory_mib"] - baseline), 3
            ),
            "imports_memory_mib": baseline,
            "largest_difference_of_losses": difference,
            "steps": given.steps,
            "pairs_per_step": given.pairs,
            "reference": given.reference,
        },
        "peer": {"name": "plain loop: second copy, encoders in every step, four forwards a pair", **peer},
    }


def build(given: argparse.Namespace, work: Path) -> dict[str, Any]:
    """Pipeline and snapshot on disk."""
    import train_model

    train_model.build(work / "base", given.shape)
    train_model.draw_snapshot(work / "snapshot", given.pool, given.side)
    return {}


def import_only() -> dict[str, Any]:
    """Peak memory of a process that has imported what both sides import."""
    import trainer.engine  # noqa: F401  # only its weight in memory is wanted

    return {"peak_memory_mib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1)}


def machine() -> dict[str, Any]:
    import torch

    found = {
        "cpus": os.cpu_count(), "load": round(os.getloadavg()[0], 1), "processor": platform.machine(),
        "python": platform.python_version(), "torch": torch.__version__,
    }  # fmt: skip
    return found | ({"gpu": torch.cuda.get_device_name()} if torch.cuda.is_available() else {})


def main() -> None:
    import train_model

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="A small model, few steps; ends within 40 seconds.")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--steps", type=int)
    parser.add_argument("--pairs", type=int, default=8, help="Pairs a step.")
    parser.add_argument("--model", choices=["large", "light"], default="large", help="See bench/train_model.py.")
    parser.add_argument("--micro-batch", type=int, help="Pairs a forward of ours; all of a step without it.")
    parser.add_argument("--pool", type=int, default=16, help="Pairs in the snapshot.")
    parser.add_argument("--reference", choices=["model", "cache"], default="cache")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--side", choices=["ours", "reference", "nothing", "build"], help=argparse.SUPPRESS)
    parser.add_argument("--work", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    given.steps = given.steps or (3 if given.quick else 5)
    given.shape = train_model.QUICK if given.quick else getattr(train_model, given.model.upper())
    given.side, side_name = given.shape.side, given.side
    if side_name == "nothing":
        print(json.dumps(import_only()))
    elif side_name:
        print(json.dumps({"ours": run_ours, "reference": run_reference, "build": build}[side_name](given, given.work)))
    else:
        if given.device == "cuda":
            from train_gpu import measure

            found = measure()
        else:
            found = compare(given)
        print(json.dumps({**found, "machine": machine(), "command": " ".join(["python", *sys.argv])}))


if __name__ == "__main__":
    main()
