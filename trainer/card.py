"""The model card of a result: what it was made from and how it did, as a README.md beside the weights."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from trainer import __version__
from trainer.backbones.families import DEBUG_SUFFIX, FAMILIES, SPATIALWORLD, Base, resolve_base
from trainer.contract.events import Event, Metrics, Sample, Validation, read_events

if TYPE_CHECKING:
    from trainer.backbones.protocol import Backbone
    from trainer.contract.checkpoint import RunFolder
    from trainer.contract.config import RunConfig
    from trainer.contract.snapshot import Snapshot

CARD = "README.md"
UNKNOWN_LICENCE = "unknown"
LICENCES = {
    "black-forest-labs/FLUX.1-Fill-dev": "flux-1-dev-non-commercial-license",
    "black-forest-labs/FLUX.1-dev": "flux-1-dev-non-commercial-license",
    "stable-diffusion-v1-5/stable-diffusion-inpainting": "creativeml-openrail-m",
    "diffusers/stable-diffusion-xl-1.0-inpainting-0.1": "openrail++",
    "stabilityai/stable-diffusion-3-medium-diffusers": "stabilityai-ai-community",
    "Qwen/Qwen-Image-Edit": "apache-2.0",
    "spatialworld": "the licence of this package",
}
"""Licences of the public bases that recipes name; a folder's own card is asked first."""
SHOWN = {
    "margin": "Margin of the implicit rewards",
    "accuracy": "Implicit accuracy",
    "d_win": "D_w: winner's error against the reference (healthy: at most 0)",
    "d_lose": "D_l: loser's error against the reference",
    "foreground_against_reference": "Foreground error against the reference",
}


def licence_of(base: str) -> str:
    """The licence a base names: in the card of its folder, else as known for public bases, else `unknown`."""
    place = base.partition("+")[0]
    card = Path(place).expanduser() / CARD
    if card.is_file():
        parts = card.read_text(encoding="utf-8", errors="replace").split("---")
        try:
            front = yaml.safe_load(parts[1]) if len(parts) > 2 else None
        except yaml.YAMLError:
            front = None
        if isinstance(front, dict) and front.get("license"):
            return str(front.get("license_name") or front["license"])
    return LICENCES.get(place, UNKNOWN_LICENCE)


def model_card(folder: RunFolder, config: RunConfig, snapshot: Snapshot, step: int, backbone: Backbone) -> str:
    """The card of a run's result, the weights after `step` steps: Markdown with the front matter that hubs read."""
    licence, parts = licence_of(config.model.base), config.model.base.split("+")
    hub_ids = [part for part in parts if re.fullmatch(r"[\w-][\w.-]*/[\w.-]+", part) and not Path(part).is_dir()]
    front = {
        **({"base_model": hub_ids} if hub_ids else {}),
        "library_name": "diffusers",
        "license": "other",
        "license_name": licence,
        "tags": ["lora" if config.training.method == "lora" else "full-fine-tuning", "inpainting", "preference"],
    }
    sections = (
        ("What this is", _what(config, step, licence, backbone)),
        ("Data and the judgments behind it", _data(snapshot)),
        ("Results", _results([event for event in read_events(folder.events)[0] if event.step <= step])),
        ("Use", f"{_use(config, backbone)}\n\nMade with trainer {__version__}."),
        ("Config", f"```json\n{json.dumps(config.model_dump(mode='json'), indent=1)}\n```"),
    )
    body = "\n\n".join(f"## {title}\n\n{text}" for title, text in sections)
    title = f"{' + '.join(Path(part).name for part in parts)} tuned on {snapshot.manifest.name}"
    return f"---\n{yaml.safe_dump(front, sort_keys=False)}---\n\n# {title}\n\n{body}\n"


def _what(config: RunConfig, step: int, licence: str, backbone: Backbone) -> str:
    kind = f"A LoRA of rank {_rank(backbone)}" if config.training.method == "lora" else "A fully fine-tuned model"
    before = f", continued from the adapter `{config.model.adapter}`" if config.model.adapter else ""
    told = (
        f"The base's licence is *{licence}* and goes on to hold for this."
        if licence != UNKNOWN_LICENCE
        else "The base does not say its licence here: ask its makers before you pass this on."
    )
    objective = config.objective
    extras = [name for name, part in (("CAPO", objective.capo), ("SCPO", objective.scpo)) if part.weight]
    terms = ", ".join([objective.preference, *extras, *(["replay of winners"] if objective.replay.weight else [])])
    return (
        f"{kind} for `{config.model.base}`{before}, trained for {step} steps of {config.training.pairs_per_step} "
        f"pairs by our reading of InpaintDPO (arXiv 2512.15644): {terms}, beta {objective.beta:g} on "
        f"{objective.reduction}. {told}"
    )


def _data(snapshot: Snapshot) -> str:
    manifest, pairs = snapshot.manifest, snapshot.pairs_of("train")
    judgments = {judgment for pair in pairs for judgment in pair.judgments}
    counts = ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in manifest.counts.items())
    sure = sum(pair.p_win for pair in pairs) / max(1, len(pairs))
    return (
        f"Snapshot *{manifest.name}*, content hash `{manifest.content_hash}`: {counts}. Its training pairs rest on "
        f"{len(judgments)} judgments; the mean p(win) is {sure:.2f}. Training and held-out pairs share no subject.\n\n"
        f"Rules it was frozen by:\n\n```json\n{json.dumps(manifest.rules, indent=1, sort_keys=True)}\n```"
    )


def _results(events: list[Event]) -> str:
    held_out = [event for event in events if isinstance(event, Validation)]
    looks = [event for event in events if isinstance(event, Sample)]
    lines: list[str] = []
    if held_out:
        last = held_out[-1]
        rows = [f"| {words} | {last.values[name]:.4f} |" for name, words in SHOWN.items() if name in last.values]
        pairs = last.values.get("pairs", 0)
        lines += [f"On {pairs:.0f} held-out pairs, after step {last.step}:", "\n".join(["| | |", "|---|---|", *rows])]
    judged = [(event.step, [image.rational for image in event.images if image.rational is not None]) for event in looks]
    judged = [(step, verdicts) for step, verdicts in judged if verdicts]
    if judged:
        told = "; ".join(f"step {step}: {sum(v)} of {len(v)}" for step, v in (judged[0], judged[-1]))
        lines.append(f"Rational images of held-out conditions by the exact judge: {told}.")
    if not lines:
        metrics = [event for event in events if isinstance(event, Metrics)]
        lines.append(
            f"Nothing was held out. Loss of the last training steps: {metrics[-1].values['loss']:.4f}."
            if metrics
            else "Nothing was measured."
        )
    return "\n\n".join(lines)


def _rank(backbone: Backbone) -> str:
    """The trained LoRA's own, which is not the config's where another adapter was continued."""
    ranks = sorted({weight.shape[0] for name, weight in backbone.trainable().items() if ".lora_A." in name})
    return f"{ranks[0]}" if len(ranks) == 1 else f"{ranks[0]} to {ranks[-1]}"


def _use(config: RunConfig, backbone: Backbone) -> str:
    """How to draw with the result: in Python, or by the trainer where only that knows the base's name."""
    name, full = config.model.base, config.training.method == "full"
    if not full and (name == SPATIALWORLD or name.removesuffix(DEBUG_SUFFIX) in FAMILIES):
        return (
            "```sh\npython -m trainer sample --config CONFIG --snapshot SNAPSHOT --adapter FOLDER --out IMAGES\n```\n\n"
            "FOLDER is where this card lies, CONFIG a file of the config below, SNAPSHOT has the conditions to draw."
        )
    path, _, controlnet = name.partition("+")
    base = resolve_base(name) if full else Base(path, controlnet or None)
    code = _python("FOLDER" if full else base.path, base.controlnet, config.model.revision, backbone)
    if not full:
        code += '\npipeline.load_lora_weights("FOLDER")  # alpha/rank is folded in'
    return f"```python\n{code}\n```\n\nFOLDER is where this card lies."


def _python(path: str, controlnet: str | None, revision: str | None, backbone: Backbone) -> str:
    """The lines that load `path` as the family does, with its ControlNet."""
    kinds: list[type] = [FAMILIES[backbone.family].load_class().pipeline_class]
    options = f", revision={json.dumps(revision)}" if revision and path != "FOLDER" else ""
    lines = []
    if controlnet:
        model: Any = backbone.predictors()[1]
        kinds.append(type(model))
        extra = ", extra_conditioning_channels=1" if "extra_conditioning_channels" in model.config else ""
        lines = [f"controlnet = {kinds[1].__name__}.from_pretrained({json.dumps(controlnet)}{extra})"]
        options += ", controlnet=controlnet"
    modules = ["diffusers" if kind.__module__.startswith("diffusers.") else kind.__module__ for kind in kinds]
    imports = {
        module: ", ".join(sorted(kind.__name__ for kind, its in zip(kinds, modules, strict=True) if its == module))
        for module in modules
    }
    return "\n".join(
        (
            *(f"from {module} import {names}" for module, names in imports.items()),
            "",
            *lines,
            f"pipeline = {kinds[0].__name__}.from_pretrained({json.dumps(path)}{options})",
        )
    )
