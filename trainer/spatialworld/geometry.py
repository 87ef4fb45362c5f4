"""The geometry of SpatialWorld: a level pinhole camera over a ground plane, and what makes a scene irrational.

Rows count downwards in pixels, heights are in metres. A camera that looks along the horizon from
``CAMERA_HEIGHT`` metres sees every upright thing of height H cut by the horizon at that same height, so
``pixel_height / (base_row - horizon_row) = H / CAMERA_HEIGHT`` wherever it stands. That one line is the scale rule.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, get_args

Viewpoint = Literal["level", "top"]
Reason = Literal["scale", "position", "viewpoint"]
VIEWPOINTS: tuple[Viewpoint, ...] = get_args(Viewpoint)

SIZE = 64
"""Side of every image in pixels."""
CAMERA_HEIGHT = 1.6
"""Metres: the eye of a standing person."""
FOCAL = 64.0
"""Focal length in pixels: a field of view of 53 degrees."""
SURFACES = ("road", "grass", "water", "floor")
LIGHTS = ("day", "dusk", "night", "overcast")
REASONS: tuple[Reason, ...] = ("scale", "position", "viewpoint")
SCALE_TOLERANCE = math.log(1.38)
"""Largest |log(apparent height / real height)| that still passes as rational."""
SUPPORT_TOLERANCE = 1.5
"""Pixels by which the base may lie above the measured horizon before the subject counts as floating."""


@dataclass(frozen=True)
class Spec:
    """What the judge must know of a condition: the subject and how it is put on the canvas, never the background.

    ``box`` is (left, top, right, bottom) in pixels, ``base`` the (column, row) at which the subject meets the ground
    (its centre for a subject drawn from above), ``real_height`` metres of the drawn height. ``surface`` and ``light``
    are what the prompt asks for, None where it leaves them open.
    """

    kind: str
    viewpoint: Viewpoint
    real_height: float
    habitat: tuple[str, ...]
    base: tuple[float, float]
    box: tuple[float, float, float, float]
    surface: str | None = None
    light: str | None = None
    camera_height: float = CAMERA_HEIGHT
    size: int = SIZE

    @property
    def pixel_height(self) -> float:
        """Drawn height in pixels."""
        return self.box[3] - self.box[1]

    @property
    def horizon(self) -> float | None:
        """The row on which the horizon must lie for the subject's scale to be right; None if seen from above."""
        if self.viewpoint == "top":
            return None
        return self.base[1] - self.pixel_height * self.camera_height / self.real_height

    def to_json(self) -> dict[str, Any]:
        """Plain JSON, the row's ``spatialworld`` field."""
        return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Spec:
        """Read what ``to_json`` wrote; raises KeyError or TypeError for a spec that lacks a field."""
        return cls(
            kind=str(data["kind"]),
            viewpoint="top" if data["viewpoint"] == "top" else "level",
            real_height=float(data["real_height"]),
            habitat=tuple(data["habitat"]),
            base=(float(data["base"][0]), float(data["base"][1])),
            box=tuple(float(v) for v in data["box"]),  # type: ignore[arg-type]  # four numbers by the format
            surface=data.get("surface"),
            light=data.get("light"),
            camera_height=float(data.get("camera_height", CAMERA_HEIGHT)),
            size=int(data.get("size", SIZE)),
        )


@dataclass(frozen=True)
class Verdict:
    """The judge's word on one image.

    ``rational`` is None where the judge can't tell. ``margin`` is the distance to the nearest boundary between
    rational and not, in units of that rule's tolerance (positive: rational). ``measured`` is what was read.
    """

    rational: bool | None
    reasons: tuple[Reason, ...] = ()
    margin: float = 0.0
    measured: dict[str, Any] = field(default_factory=dict)


def scale_error(spec: Spec, horizon: float) -> float:
    """log(apparent height / real height) of a level subject under a horizon at this row; 0 is right, >0 a giant."""
    distance = max(spec.base[1] - horizon, 0.25)
    return math.log(spec.pixel_height * spec.camera_height / (distance * spec.real_height))


def verdict_of(spec: Spec, background: Viewpoint, horizon: float | None, surface: str) -> Verdict:
    """Apply the three rules to a background of known viewpoint, horizon row (None from above) and surface."""
    reasons: list[Reason] = []
    margins: list[float] = []
    measured: dict[str, Any] = {"viewpoint": background, "horizon": horizon, "surface": surface}
    supported = True
    if horizon is not None:
        lift = (horizon - spec.base[1]) / SUPPORT_TOLERANCE
        supported = lift <= 1.0
        margins.append(1.0 - lift)
    fitting = surface in spec.habitat
    if not supported or not fitting:
        reasons.append("position")
    if not fitting:
        margins.append(-1.0)
    if spec.viewpoint != background:
        reasons.append("viewpoint")
        margins.append(-1.0)
    elif horizon is not None and supported:
        error = scale_error(spec, horizon)
        measured["scale"] = math.exp(error)
        margins.append(1.0 - abs(error) / SCALE_TOLERANCE)
        if abs(error) > SCALE_TOLERANCE:
            reasons.append("scale")
    margin = min(margins) if margins else 1.0
    ordered = tuple(reason for reason in REASONS if reason in reasons)
    return Verdict(rational=not ordered, reasons=ordered, margin=round(float(margin), 4), measured=measured)
