"""From a request to everything that a run needs: names looked up, requirements found, and the
recipe settled.
"""

from dataclasses import dataclass
from pathlib import Path

from bench import registry
from bench.errors import UsageError
from bench.evaluation.plan import EvaluationPlan, identity, plan_evaluation, spec_of
from bench.factory import Components, Setup, look_up, set_up
from bench.files.assets import UNKNOWN, Withheld, at_hand
from bench.files.atomic import sha256
from bench.plugin.extractor import NO_WEIGHTS
from bench.plugin.requirement import RealImages
from bench.runs.events import Note, Observer, ignore
from bench.runs.recipe import Recipe, Request, SettledEvaluation
from bench.runs.suite import Suite
from bench.training.fingerprint import (
    classes_of,
    code_of,
    files_behind,
    inputs_of,
    plugin_code,
    plugins_got,
    plugins_used,
    teacher_code,
)
from bench.training.requirements import Requirements, find_requirements

POINTS = 8
"""Evaluation points of a training run unless asked otherwise: zero and seven logarithmically spaced
ones.
"""


@dataclass(frozen=True)
class Job(Setup):
    """A recipe with the objects that its names stand for."""

    request: Request
    recipe: Recipe
    requirements: Requirements
    """The method's requirements, found."""
    evaluation: EvaluationPlan | None
    """The evaluation of the run; None if nothing is measured."""
    inputs: dict[str, str]
    """Digest of every file that the request's meaning depends on."""


def make_job(request: Request) -> Job:
    """Settle every choice of a request; writes nothing.

    Raises UsageError for a name that does not exist, a value out of range, or something required
    that is not there.
    """
    with plugins_got() as got:
        setup = set_up(request, check_request(request))
        if request.capture and setup.device.type != "cuda":
            raise UsageError("--capture records CUDA graphs, the device is a CPU; leave it out.")
        method_class, teacher = setup.method_class, setup.teacher
        requires = method_class.requires(setup.settings)
        requirements = find_requirements(method_class, requires, teacher, request.data)
        _require_same(request, requirements)
        plan = plan_evaluation(request, spec_of(teacher)) if request.measures else None
    spec, plugins = teacher.image_spec, plugins_used(setup, request, plan, got)
    recipe = Recipe(
        method=request.method,
        method_digest=code_of(files_behind([method_class])),
        teacher=request.teacher,
        seed=request.seed,
        budget=str(setup.budget) if setup.budget else None,
        settings=setup.settings.model_dump(mode="json"),
        evaluation=_settle_evaluation(request, plan, trains=method_class.trains) if plan else None,
        teacher_digest=teacher.digest(),
        teacher_code=teacher_code(teacher),
        teacher_path=request.teacher_path,
        on_divergence=request.on_divergence,
        classes=spec.classes if spec.classes < spec.label_dim else None,
        data=request.data,
        supplies=requirements.digests,
        plugins={p: sha256(Path(p)) for p in plugins},
        plugin_code=plugin_code(plugins),
    )
    return Job(
        **vars(setup),
        request=request,
        recipe=recipe,
        requirements=requirements,
        evaluation=plan,
        inputs=inputs_of(setup, recipe, plan, requirements.files),
    )


def check_request(request: Request) -> Components:
    """Check a request as far as that is possible without reading a teacher, and so before anything
    is downloaded.
    """
    components = look_up(request)
    if components.teacher_class.known_before_loading:
        spec = spec_of(components.teacher_class)
        if request.classes is not None:
            spec.image_spec.of_classes(request.classes, request.teacher)
        if request.measures:
            plan_evaluation(request, spec)
    return components


def check_suite(suite: Suite, observe: Observer = ignore) -> list[Request]:
    """List the runs of a suite, each checked; real images that are given go to those methods alone
    that learn from some.

    ``observe`` is shown what a person should know about the settings.
    """
    requests, notes = [], dict[str, None]()
    for request in suite.requests():
        components = check_request(request)
        method_class, settings = components.method_class, components.hyperparameters.settings
        learns = any(isinstance(required, RealImages) for required in method_class.requires(settings))
        given = {"data": suite.data} if suite.data is not None and learns else {}
        requests.append(request.model_copy(update=given))
        notes[components.hyperparameters.note] = None
    for text in filter(None, notes):
        observe(Note(text))
    return requests


def _require_same(request: Request, requirements: Requirements) -> None:
    """Raise UsageError if what was found is not what a recipe file says that it must be."""
    for kind, digest in request.supplies.items():
        if (present := requirements.digests.get(kind)) not in (digest, UNKNOWN):
            raise UsageError(
                f"the recipe was made with other {kind} content ({digest[:12]}) than is found now "
                f"({str(present)[:12]}); give that, or leave the recipe file out."
            )


def _settle_evaluation(request: Request, plan: EvaluationPlan, *, trains: bool) -> SettledEvaluation:
    """The plan as a recipe states it, which takes the extractors' weights: they are fetched, but for a
    dry run.
    """
    if not plan.feature_metrics:
        raise UsageError(
            f"a run is judged by its images, given {', '.join(plan.metrics)}; add a metric such as fid."
        )
    for asset in plan.assets:
        at_hand(asset)
    settled_by_plan = {"protocol", "fast", "kid_subset_size", "kid_subsets"}
    kid = plan.protocol.parameters["kid"] if plan.protocol.variant else {}
    return SettledEvaluation(
        **request.model_dump(include={*SettledEvaluation.model_fields} - settled_by_plan),
        protocol=request.protocol or plan.target.protocol or "",
        samples=plan.protocol.samples,
        metrics=list(plan.metrics),
        repeats=plan.repeats,
        points=(request.eval_points or POINTS) if trains else 1,
        fast=plan.protocol.fast,
        kid_subset_size=kid.get("size"),
        kid_subsets=kid.get("subsets"),
        extractors=_extractor_digests(plan),
        references=identity(plan),
        code=code_of(files_behind(classes_of(plan))),
    )


def _extractor_digests(plan: EvaluationPlan) -> dict[str, str]:
    """Digest the weights of each extractor, as far as a dry run has them; of a plugin's without weights its
    code, or numbers of before an edit would share a column with those of after.
    """
    try:
        digests = {name: extractor.digest() for name, extractor in plan.load_extractors().items()}
    except Withheld:
        return dict.fromkeys(plan.extractors, UNKNOWN)
    known = registry.extractors.entries()
    return {
        name: code_of(files_behind([plan.extractors[name]]))
        if digest == NO_WEIGHTS and known[name].plugin
        else digest
        for name, digest in digests.items()
    }
