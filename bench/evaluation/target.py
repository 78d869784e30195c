"""The thing that is measured: whatever generates, or a folder of images; and the file in which its
numbers are kept.
"""

import hashlib
import json
import os
import re
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bench import environment, registry
from bench.errors import UsageError
from bench.evaluation.digests import dataset_digest, digest_of
from bench.evaluation.evaluator import Evaluator
from bench.evaluation.plan import EvaluationPlan, TargetSpec, plan_evaluation, spec_of
from bench.evaluation.sampling import Images, quantised
from bench.factory import ImageGenerator, find_teacher_class, open_generator
from bench.files.atomic import write_atomic
from bench.plugin.dataset import find_dataset, prepared
from bench.plugin.images import ImageSpec
from bench.plugin.metric import GeneratorMetric
from bench.runs.events import Note, Observer, ignore
from bench.runs.exported import exported_weights
from bench.runs.folder import now
from bench.runs.options import EvaluationOptions

ARCHIVES = (".zip", ".npz", ".npy")
"""Endings of files that hold images and no weights."""
WEIGHTS = (".safetensors", ".onnx")
"""Endings of files that hold a generator."""


@dataclass(frozen=True)
class Target:
    """The thing that is measured, a generator or images that there are, and the plan by which it is."""

    name: str
    plan: EvaluationPlan
    device: torch.device
    images: Images
    """A function that returns uint8 images, by their seeds or by their places in a folder."""
    replicates: range
    """The numbers of the replicates that are measured."""
    generator: ImageGenerator | None = None
    """None for images that are read from files."""

    def facts(self) -> dict[str, Any]:
        """Describe what was measured: its digest, and of a generator its NFE and parameters, and its
        classes where only some are drawn.
        """
        if self.generator is None:
            place = Path(self.name)
            named = self.name in registry.datasets.entries() and not place.is_absolute()
            digest = (
                dataset_digest(find_dataset(self.name, labels=False)()) if named else digest_of(place)
            )
            return {"digest": digest, "nfe": None, "parameters": None}
        spec = self.generator.teacher.image_spec
        facts = {
            "digest": self.generator.digest(),
            "nfe": self.generator.nfe,
            "parameters": self.generator.parameters,
        }
        return facts | ({"classes": spec.classes} if spec.classes < spec.label_dim else {})


def open_target(
    name: str,
    options: EvaluationOptions,
    results: Path,
    *,
    device: str = "auto",
    path: str | None = None,
    classes: int | None = None,
    observe: Observer = ignore,
) -> Target:
    """Open what ``name`` means and plan its measurement, checked as far as possible before anything
    is fetched.

    Args:
        name: a run, a weights file, an exported folder, ``teacher:NAME`` or ``released:NAME``; or
            images: a folder, a zip, an array in a file, or the name of a data set.
        options: what is asked of the evaluation.
        results: the folder in which runs are looked for.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        path: a file in place of the usual weights.
        classes: number of classes that are drawn, for a teacher or a released generator.
        observe: is shown what a person should know.

    Raises UsageError for what is not there or could not be measured.
    """
    place = Path(name)
    anonymous = place.suffix in ARCHIVES or (
        place.is_dir() and not (place / "record.json").exists() and exported_weights(place) is None
    )
    if anonymous or name in registry.datasets.entries() or (place.is_file() and _holds_images(place)):
        if classes is not None:
            raise UsageError(
                f"{name!r} holds images, of which none are drawn by class, given --classes {classes}; "
                "leave it out."
            )
        return _open_images(str(place.absolute()) if anonymous else name, options, device, observe)
    if place.is_file() and place.suffix not in WEIGHTS:
        find_dataset("files", place.absolute())()  # says why these are no images
    if not place.exists() and os.sep in name and ":" not in name:
        raise UsageError(f"there is no file or folder {name!r}; check the path.")
    _require_measurable(name, options, classes)
    generator = open_generator(name, results, device=device, path=path, classes=classes)
    if generator.teacher.note:
        observe(Note(generator.teacher.note))
    plan = plan_evaluation(options, spec_of(generator.teacher))
    first = 1 if generator.trained else 0  # replicate 0 may have chosen the checkpoint of a run
    return Target(
        name,
        plan,
        generator.device,
        partial(quantised, generator.generate, plan.target.image_spec, generator.device),
        range(first, first + plan.repeats),
        generator,
    )


def _holds_images(file: Path) -> bool:
    """Tell whether a file is a data set or an array of images, whatever its name."""
    try:
        return len(find_dataset("files", file.absolute())()) > 0
    except UsageError:
        return False


def _open_images(name: str, options: EvaluationOptions, device: str, observe: Observer) -> Target:
    """Open a data set, a folder or a file of images. Raises UsageError for what can be measured of a
    generator alone.
    """
    if name not in registry.datasets.entries() and not Path(name).exists():
        raise UsageError(f"there is no file {name!r}; check the path.")
    if options.eval_repeats and options.eval_repeats > 1:
        raise UsageError(
            f"{name!r} holds one set of images, so that there is one replicate; leave "
            "--eval-repeats out."
        )
    if options.protocol is None:
        raise UsageError(
            f"the images in {name!r} name no protocol; give one with --protocol (`bench "
            "list protocols`)."
        )
    dataset = find_dataset(name, labels=False)()
    spec = TargetSpec(name, ImageSpec(*dataset.image_spec.shape[:2]), None)
    plan = plan_evaluation(options.model_copy(update={"eval_repeats": 1}), spec)
    if speed := [name for name, metric in plan.metrics.items() if isinstance(metric, GeneratorMetric)]:
        raise UsageError(
            f"{name!r} makes no images, so that it has no {' or '.join(speed)}; leave that metric out."
        )
    samples = plan.protocol.samples
    if len(dataset) < samples:
        raise UsageError(
            f"{name!r} holds {len(dataset):,} images, {plan.protocol.id} takes {samples:,}; "
            f"give more, or say --eval-samples {len(dataset)}, which makes it another protocol."
        )
    if len(dataset) > samples:
        observe(
            Note(f"{samples:,} of its {len(dataset):,} images are measured, drawn as EDM draws them")
        )
    chosen = prepared(dataset, max_size=samples)

    def read(places: range) -> Tensor:
        return chosen.read(range(places.start, min(places.stop, samples)))[0]

    return Target(name, plan, environment.choose_device(device), read, range(1))


def _require_measurable(name: str, options: EvaluationOptions, classes: int | None) -> None:
    """Raise UsageError for what could not be measured, where that is known before anything is fetched."""
    kind, _, rest = name.partition(":")
    if kind == "released":
        rest = registry.released.get(rest).teacher
    if kind in ("teacher", "released"):
        teacher_class, _ = find_teacher_class(rest)
        if teacher_class.known_before_loading:
            if classes is not None:
                teacher_class.image_spec.of_classes(classes, rest)
            plan_evaluation(options, spec_of(teacher_class))


def evaluate(target: Target, evaluator: Evaluator) -> dict[str, Any]:
    """Measure a target, and return all that is stored of it: the numbers, of what, by which
    protocol, where and when.
    """
    protocol = {"id": evaluator.label} | evaluator.describe()
    precision = "tf32" if torch.backends.cuda.matmul.allow_tf32 else "fp32"
    if target.generator is not None:
        metrics = evaluator.measure(target.generator.generate, target.replicates)
        half = getattr(target.generator.teacher.denoiser, "half_type", None)
        if half is not None:
            precision = {torch.float16: "fp16", torch.bfloat16: "bf16"}[half]
    else:
        metrics = evaluator.measure_images(target.images, target.replicates)
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
        "environment": environment.describe(target.device, precision),
        "measured": now(),
    }


def run_folder(target: Target) -> Path | None:
    """Return the folder of the run that made a target's generator, if it is there."""
    return target.generator.run if target.generator else None


def write_evaluation(content: dict[str, Any], run: Path | None, results: Path) -> Path:
    """Write an evaluation beside its run, or below the results folder for what is no run.

    The same target measured again in the same way is written to the same file.
    """
    identity = {k: content.get(k) for k in ("source", "digest", "replicates", "protocol", "published")}
    identity |= {"metrics": sorted(content["metrics"])}
    identity |= {"classes": content["classes"]} if "classes" in content else {}
    short = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:8]
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", Path(content["source"]).name)[:60]
    folder = run / "evaluations" if run else results / "evaluations"
    file = folder / f"{'' if run else name + '-'}{content['protocol']['id']}-{short}.json"
    write_atomic(file, json.dumps(content, indent=1) + "\n")
    return file
