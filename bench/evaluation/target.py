"""Measuring what there is: a run, weights, a teacher, a released generator, or a folder of images; and keeping the answer."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from bench import environment, registry
from bench.errors import UsageError
from bench.evaluation.evaluator import Evaluator
from bench.evaluation.plan import EvaluationPlan, TargetSpec, plan_evaluation, spec_of
from bench.evaluation.sampling import Images, quantised
from bench.factory import ImageGenerator, find_teacher_class, open_generator
from bench.files.atomic import content_digest, write_atomic
from bench.files.tensors import tensors_digest
from bench.plugin.dataset import Dataset, find_dataset, prepared
from bench.plugin.images import ImageSpec
from bench.plugin.metric import GeneratorMetric
from bench.runs.recipe import EvaluationOptions
from bench.runs.record import Measurement
from bench.runs.store import now

Report = Callable[[float], None]


@dataclass(frozen=True)
class Target:
    """A generator or a set of images, and what is measured of it."""

    name: str
    measuring: EvaluationPlan
    device: torch.device
    source: ImageGenerator | None = None
    images: Dataset | None = None

    @property
    def nfe(self) -> int | None:
        """Evaluations of the network for an image; None for images that are only read."""
        return self.source.nfe if self.source else None

    @property
    def parameters(self) -> int | None:
        """Of the generator."""
        return sum(p.numel() for p in self.source.network.parameters()) if self.source else None

    @property
    def replicates(self) -> range:
        """Those from 0; of a run those from 1, as replicate 0 may have chosen its checkpoint."""
        first = 1 if self.source and self.source.trained else 0
        return range(first, first + self.measuring.repeats)

    @property
    def digest(self) -> str:
        """SHA-256 of the generator's weights, or of the images."""
        if self.source:
            return tensors_digest(self.source.network.state_dict())
        return content_digest(Path(self.name))

    def measure(self, evaluator: Evaluator) -> dict[str, Measurement]:
        """Every metric, over the replicates."""
        if self.source:
            return evaluator.measure(self.source.generate, self.replicates)
        return evaluator.measure_images(self.read, self.replicates)

    @property
    def read(self) -> Images:
        """Uint8 images by seed, or by their places in the folder."""
        if self.source:
            source = self.source
            return lambda seeds: quantised(source.generate, self.measuring.target.image_spec, source.device, seeds)
        images = self.images
        assert images is not None
        return lambda places: images.read(range(places.start, min(places.stop, len(images))))[0]


def ask(
    name: str,
    options: EvaluationOptions,
    results: Path,
    *,
    device: str = "auto",
    path: str | None = None,
    note: Callable[[str], None] = print,
) -> Target:
    """What is behind ``name``, and what can be measured of it; checked as far as possible before anything is fetched."""
    place = Path(name)
    if place.suffix == ".zip" or (place.is_dir() and not (place / "record.json").exists()):
        return _folder(place.absolute(), options, device, note)
    if not place.exists() and os.sep in name and ":" not in name:
        raise UsageError(f"there is no file or folder {name!r}; check the path.")
    _require_measurable(name, options)
    source = open_generator(name, results, device=device, path=path)
    if source.note:
        note(source.note)
    return Target(name, plan_evaluation(options, spec_of(source.teacher)), source.device, source=source)


def _folder(place: Path, options: EvaluationOptions, device: str, note: Callable[[str], None]) -> Target:
    """A folder or zip of images."""
    if not place.exists():
        raise UsageError(f"there is no file {str(place)!r}; check the path.")
    if options.eval_repeats and options.eval_repeats > 1:
        raise UsageError(f"{str(place)!r} holds one set of images, so that there is one replicate; leave --eval-repeats out.")
    if options.protocol is None:
        raise UsageError(f"the images in {str(place)!r} name no protocol; give one with --protocol (`bench list protocols`).")
    images = find_dataset(str(place))()
    subject_ = TargetSpec(str(place), ImageSpec(*images.image_spec.shape[:2]), None)
    measuring = plan_evaluation(options.model_copy(update={"eval_repeats": 1}), subject_)
    if speed := [name for name, metric in measuring.metrics.items() if isinstance(metric, GeneratorMetric)]:
        raise UsageError(f"a folder makes no images, so that it has no {' or '.join(speed)}; leave that metric out.")
    samples = measuring.protocol.samples
    if len(images) < samples:
        raise UsageError(
            f"{str(place)!r} holds {len(images):,} images, {measuring.protocol.id} takes {samples:,}; give more, or say "
            f"--eval-samples {len(images)}, which makes it another protocol."
        )
    if len(images) > samples:
        note(f"{samples:,} of its {len(images):,} images are measured, drawn as EDM draws them")
    return Target(str(place), measuring, environment.choose_device(device), images=prepared(images, max_size=samples))


def _require_measurable(name: str, options: EvaluationOptions) -> None:
    """Raise UsageError for a measurement that could not be made of ``name``, where that is known before anything is fetched."""
    kind, _, rest = name.partition(":")
    if kind == "released":
        rest = registry.released.get(rest).teacher
    if kind in ("teacher", "released"):
        teacher_class, _ = find_teacher_class(rest)
        if teacher_class.known_before_loading:
            plan_evaluation(options, spec_of(teacher_class))


def answer(question: Target, evaluator: Evaluator) -> dict[str, Any]:
    """Measure, and say everything about it as it is stored: whose, of what, by which protocol, where."""
    metrics = question.measure(evaluator)
    source = question.source
    half = getattr(source.teacher.denoiser, "half_type", None) if source is not None else None
    precision = (
        {torch.float16: "fp16", torch.bfloat16: "bf16"}[half]
        if half
        else "tf32"
        if torch.backends.cuda.matmul.allow_tf32
        else "fp32"
    )
    protocol = {"id": evaluator.label} | evaluator.describe()
    if source is None:
        protocol |= {"labels": "as the images are", "seeds": "the images are read from files", "quantisation": "none"}
    return {
        "source": question.name,
        "digest": question.digest,
        "nfe": question.nfe,
        "parameters": question.parameters,
        "replicates": list(question.replicates),
        "metrics": {name: m.model_dump(exclude_none=True) for name, m in metrics.items()},
        "protocol": protocol,
        "environment": environment.describe(question.device, precision),
        "measured": now(),
    }


def store(content: dict[str, Any], run: Path | None, results: Path) -> Path:
    """Write an answer beside its run, or below the results folder for what is no run; the same question has one file."""
    asked = {k: content.get(k) for k in ("source", "digest", "replicates", "protocol", "published")}
    asked |= {"metrics": sorted(content["metrics"])}
    short = hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()[:8]
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", Path(content["source"]).name)[:60]
    folder = run / "evaluations" if run else results / "evaluations"
    file = folder / f"{'' if run else name + '-'}{content['protocol']['id']}-{short}.json"
    write_atomic(file, json.dumps(content, indent=1) + "\n")
    return file
