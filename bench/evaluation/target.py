"""The thing that is measured: whatever generates, or a folder of images; and the file in which its
numbers are kept.
"""

import hashlib
import json
import os
import re
from abc import ABC, abstractmethod
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
from bench.runs.events import Note, Observer, ignore
from bench.runs.recipe import EvaluationOptions
from bench.runs.record import Measurement
from bench.runs.store import now


@dataclass(frozen=True)
class Target(ABC):
    """The thing that is measured, and the plan by which it is."""

    name: str
    plan: EvaluationPlan
    device: torch.device

    @property
    @abstractmethod
    def images(self) -> Images:
        """A function that returns uint8 images, by their seeds or by their places in a folder."""

    @property
    @abstractmethod
    def replicates(self) -> range:
        """The numbers of the replicates that are measured."""

    @abstractmethod
    def measure(self, evaluator: Evaluator) -> dict[str, Measurement]:
        """Measure every metric over the replicates."""

    @abstractmethod
    def facts(self) -> dict[str, Any]:
        """Describe what was measured: its digest, and of a generator its NFE, parameters and precision."""


@dataclass(frozen=True)
class Generated(Target):
    """The images of a generator."""

    generator: ImageGenerator

    @property
    def images(self) -> Images:
        return lambda seeds: quantised(
            self.generator.generate, self.plan.target.image_spec, self.device, seeds
        )

    @property
    def replicates(self) -> range:
        """From 0; of a run from 1, as replicate 0 may have chosen its checkpoint."""
        first = 1 if self.generator.trained else 0
        return range(first, first + self.plan.repeats)

    def measure(self, evaluator: Evaluator) -> dict[str, Measurement]:
        return evaluator.measure(self.generator.generate, self.replicates)

    def facts(self) -> dict[str, Any]:
        network = self.generator.network
        return {
            "digest": tensors_digest(network.state_dict()),
            "nfe": self.generator.nfe,
            "parameters": sum(p.numel() for p in network.parameters()),
        }


@dataclass(frozen=True)
class Stored(Target):
    """The images of a folder or a zip, which are one replicate."""

    dataset: Dataset

    @property
    def images(self) -> Images:
        return lambda places: self.dataset.read(
            range(places.start, min(places.stop, len(self.dataset)))
        )[0]

    @property
    def replicates(self) -> range:
        return range(1)

    def measure(self, evaluator: Evaluator) -> dict[str, Measurement]:
        return evaluator.measure_images(self.images, self.replicates)

    def facts(self) -> dict[str, Any]:
        return {"digest": content_digest(Path(self.name)), "nfe": None, "parameters": None}


def open_target(
    name: str,
    options: EvaluationOptions,
    results: Path,
    *,
    device: str = "auto",
    path: str | None = None,
    observe: Observer = ignore,
) -> Target:
    """Open what ``name`` means and plan its measurement, checked as far as possible before anything
    is fetched.

    Args:
        name: a run, a weights file, a folder or zip of images, ``teacher:NAME`` or ``released:NAME``.
        options: what is asked of the evaluation.
        results: the folder in which runs are looked for.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        path: a file in place of the usual weights.
        observe: is shown what a person should know.

    Raises UsageError for what is not there or could not be measured.
    """
    place = Path(name)
    if place.suffix == ".zip" or (place.is_dir() and not (place / "record.json").exists()):
        return _open_folder(place.absolute(), options, device, observe)
    if not place.exists() and os.sep in name and ":" not in name:
        raise UsageError(f"there is no file or folder {name!r}; check the path.")
    _require_measurable(name, options)
    generator = open_generator(name, results, device=device, path=path)
    if generator.teacher.note:
        observe(Note(generator.teacher.note))
    return Generated(
        name, plan_evaluation(options, spec_of(generator.teacher)), generator.device, generator
    )


def _open_folder(place: Path, options: EvaluationOptions, device: str, observe: Observer) -> Stored:
    """Open a folder or zip of images. Raises UsageError for what can be measured of a generator alone."""
    if not place.exists():
        raise UsageError(f"there is no file {str(place)!r}; check the path.")
    if options.eval_repeats and options.eval_repeats > 1:
        raise UsageError(
            f"{str(place)!r} holds one set of images, so that there is one replicate; leave "
            "--eval-repeats out."
        )
    if options.protocol is None:
        raise UsageError(
            f"the images in {str(place)!r} name no protocol; give one with --protocol (`bench "
            "list protocols`)."
        )
    dataset = find_dataset(str(place))()
    spec = TargetSpec(str(place), ImageSpec(*dataset.image_spec.shape[:2]), None)
    plan = plan_evaluation(options.model_copy(update={"eval_repeats": 1}), spec)
    if speed := [name for name, metric in plan.metrics.items() if isinstance(metric, GeneratorMetric)]:
        raise UsageError(
            f"a folder makes no images, so that it has no {' or '.join(speed)}; leave that metric out."
        )
    samples = plan.protocol.samples
    if len(dataset) < samples:
        raise UsageError(
            f"{str(place)!r} holds {len(dataset):,} images, {plan.protocol.id} takes {samples:,}; "
            f"give more, or say --eval-samples {len(dataset)}, which makes it another protocol."
        )
    if len(dataset) > samples:
        observe(
            Note(f"{samples:,} of its {len(dataset):,} images are measured, drawn as EDM draws them")
        )
    return Stored(
        str(place), plan, environment.choose_device(device), prepared(dataset, max_size=samples)
    )


def _require_measurable(name: str, options: EvaluationOptions) -> None:
    """Raise UsageError for what could not be measured, where that is known before anything is fetched."""
    kind, _, rest = name.partition(":")
    if kind == "released":
        rest = registry.released.get(rest).teacher
    if kind in ("teacher", "released"):
        teacher_class, _ = find_teacher_class(rest)
        if teacher_class.known_before_loading:
            plan_evaluation(options, spec_of(teacher_class))


def evaluate(target: Target, evaluator: Evaluator) -> dict[str, Any]:
    """Measure a target, and return all that is stored of it: the numbers, of what, by which
    protocol, where and when.
    """
    metrics = target.measure(evaluator)
    protocol = {"id": evaluator.label} | evaluator.describe()
    if isinstance(target, Stored):
        protocol |= {
            "labels": "as the images are",
            "seeds": "the images are read from files",
            "quantisation": "none",
        }
    return {
        "source": target.name,
        **target.facts(),
        "replicates": list(target.replicates),
        "metrics": {name: m.model_dump(exclude_none=True) for name, m in metrics.items()},
        "protocol": protocol,
        "environment": environment.describe(target.device, _precision(target)),
        "measured": now(),
    }


def _precision(target: Target) -> str:
    """The arithmetic in which the images were made."""
    half = (
        getattr(target.generator.teacher.denoiser, "half_type", None)
        if isinstance(target, Generated)
        else None
    )
    if half is not None:
        return {torch.float16: "fp16", torch.bfloat16: "bf16"}[half]
    return "tf32" if torch.backends.cuda.matmul.allow_tf32 else "fp32"


def run_folder(target: Target) -> Path | None:
    """Return the folder of the run that made a target's generator, if it is there."""
    return target.generator.run if isinstance(target, Generated) else None


def write_evaluation(content: dict[str, Any], run: Path | None, results: Path) -> Path:
    """Write an evaluation beside its run, or below the results folder for what is no run.

    The same target measured again in the same way is written to the same file.
    """
    identity = {k: content.get(k) for k in ("source", "digest", "replicates", "protocol", "published")}
    identity |= {"metrics": sorted(content["metrics"])}
    short = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:8]
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", Path(content["source"]).name)[:60]
    folder = run / "evaluations" if run else results / "evaluations"
    file = folder / f"{'' if run else name + '-'}{content['protocol']['id']}-{short}.json"
    write_atomic(file, json.dumps(content, indent=1) + "\n")
    return file
