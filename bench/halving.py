"""Tuning by successive halving: the same procedure and the same effort for every method."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bench import registry
from bench.api import carry_out_suite
from bench.errors import UsageError, unknown
from bench.ranking.halving import Halving, Round, Standing
from bench.ranking.trials import Trial
from bench.runs.budget import Budget
from bench.runs.events import Note, Observer, ignore
from bench.runs.grid import GridRun
from bench.runs.halving import Rung, Shape, promoted, scaled
from bench.runs.recipe import make_request
from bench.runs.search import Space, distinct, key_of
from bench.runs.store import results_folder
from bench.runs.suite import make_suite
from bench.tuning import Settings, require_apart, search_space_of
from bench.units import short_budget

TIMES = 6
"""The effort by default, in whole budgets."""


class _Search:
    """The search of one method: its space, its plan, and the choices that are still in it."""

    def __init__(
        self,
        method: str,
        teacher: str,
        space: Space,
        fixed: Mapping[str, Any],
        *,
        budget: str | None,
        effort: str | None,
        shape: Shape,
    ) -> None:
        # Here because of torch.
        from bench.settings import choose_settings, published_choice, scaled_settings

        self.method, self.teacher, self.fixed = method, teacher, dict(fixed)
        self.method_class = registry.methods.get(method)
        recipe = choose_settings(self.method_class, teacher, fixed, budget)
        if recipe.budget is None:
            raise UsageError(
                f"{method} has no budget on {teacher}, expected one to tune it at; give --budget."
            )
        whole = Budget.parse(recipe.budget)
        self.effort = Budget.parse(effort) if effort else Budget(whole.axis, TIMES * whole.amount)
        self.rungs = shape.within(self.effort, whole)
        values = recipe.settings.model_dump()
        for name in space:
            if name not in values:
                raise unknown(f"setting of method {method!r}:", name, values)
        present = {name: values[name] for name in space}
        published = published_choice(self.method_class, space, present)
        first = [present, *([published] if key_of(published) != key_of(present) else [])]
        drawn = distinct(space, method, self.rungs[0].choices - len(first), first)
        self.choices: list[Settings] = [*first, *drawn]
        self.scaled_names = scaled_settings(self.method_class)
        self.left = list(range(len(self.choices)))
        """The choices that go into the next rung, by their numbers."""
        self.rounds: list[Round] = []

    @property
    def plan(self) -> str:
        """What will be done, in words."""
        rungs = ", ".join(map(str, self.rungs))
        drawn = len(self.choices)
        few = f" (the space has no more than {drawn})" if drawn < self.rungs[0].choices else ""
        return f"{self.method}: {rungs}; within an effort of {short_budget(str(self.effort))}{few}."

    def settings_at(self, number: int, rung: Rung) -> Settings:
        """Return the settings of a choice in a rung as a request has them, so that its run is found again."""
        # As above.
        from bench.settings import choose_settings

        settings = {**self.fixed, **self.choices[number]}
        if rung.fraction < 1:
            whole = choose_settings(self.method_class, self.teacher, settings).settings.model_dump()
            settings |= scaled({name: whole[name] for name in self.scaled_names}, rung.fraction)
        return make_request(method=self.method, teacher=self.teacher, settings=settings).settings

    def entries(self, rung: Rung) -> list[dict[str, Any]]:
        """Return the rung's part of a suite."""
        return [
            {"method": self.method, "settings": self.settings_at(n, rung), "budget": str(rung.budget)}
            for n in self.left
        ]

    def take(self, rung: Rung, found: Mapping[tuple[str, int, str], GridRun]) -> None:
        """Take note of how the choices of a rung have done, and keep those that go on."""
        standings = []
        for number in self.left:
            words = key_of(self.settings_at(number, rung))
            runs = [found[self.method, seed, words] for seed in rung.seeds]
            trials = [Trial(self.choices[number], run.record, run.error) for run in runs]
            standings.append(Standing(number, trials))
        self.rounds.append(Round(rung, standings))
        if len(self.rounds) < len(self.rungs):
            values = [standing.value for standing in standings]
            known = any(value is not None for value in values)
            lower = not known or self.result.direction == "lower"
            go_on = promoted(values, self.rungs[len(self.rounds)].choices, lower)
            self.left = [standings[place].number for place in go_on]

    @property
    def result(self) -> Halving:
        """What has been found so far."""
        return Halving(self.method, self.teacher, self.effort, self.rounds, self.fixed)


def _require_equal(searches: Sequence[_Search]) -> None:
    """Raise UsageError unless all methods have one effort and one budget."""
    plans = {
        one.method: (short_budget(str(one.effort)), short_budget(str(one.rungs[-1].budget)))
        for one in searches
    }
    if len(set(plans.values())) > 1:
        said = ", ".join(f"{m} {effort} of {whole}" for m, (effort, whole) in plans.items())
        raise UsageError(
            f"the methods would be tuned with unequal efforts ({said}), expected the same for all; give "
            "--effort and --budget."
        )


def halve(
    methods: Sequence[str],
    teacher: str,
    *,
    effort: str | None = None,
    shape: Shape | None = None,
    search: Mapping[str, Any] | None = None,
    settings: Mapping[str, Any] | None = None,
    results: Path | str | None = None,
    processes: int | None = None,
    gpus_per_run: int = 1,
    retry: bool = False,
    slurm: Mapping[str, str] | None = None,
    observe: Observer = ignore,
    **fields: Any,
) -> list[Halving]:
    """Tune methods by successive halving, each within the same effort, and return what was found for each.

    The first choices of every method are its present recipe, which goes up to the last rung whatever its
    numbers, and its authors' values as far as they lie in the space. The runs of a rung are carried out
    together, those of all methods; finished ones are reused, so that the same call goes on where one was
    stopped. A run that fails or diverges counts as the worst.

    Args:
        methods: methods of ``bench list methods``.
        teacher: a teacher of ``bench list teachers``.
        effort: what the search for one method may cost, such as ``flops=12T``; by default six whole budgets.
            It does not grow with the number of settings that are searched for.
        shape: factor between the rungs, their number, and the seeds, which are none of a table's.
        search: the space, as for ``sweep``; by default that of each method's card for the teacher.
        settings: settings that all trials have.
        results: the folder of runs; by default ``$BENCH_RESULTS`` or ``results/runs``.
        processes: runs at a time; by default one a GPU, or one a core.
        gpus_per_run: GPUs that share a run's batches.
        retry: take failed trials up again.
        slurm: options of ``sbatch``, with which each rung is submitted to a cluster.
        observe: is told how the runs go.
        fields: those of a suite, such as ``budget``, that of the last rung and by default the card's, and
            ``eval``, by default FID alone.

    Raises UsageError for a space, setting, budget or effort that cannot be.
    """
    for plugin in fields.get("plugins") or ():
        registry.load_plugin(plugin)
    fields = {"eval": ["fid"], "eval_points": 1} | fields
    plan: dict[str, Any] = {"budget": fields.get("budget"), "effort": effort, "shape": shape or Shape()}
    searches = []
    for method in dict.fromkeys(methods):
        space = search_space_of(method, teacher, search)
        require_apart(settings or {}, space, fields)
        searches.append(_Search(method, teacher, space, settings or {}, **plan))
        observe(Note(searches[-1].plan))
    _require_equal(searches)
    common = fields | {"teachers": [teacher], "with_teacher": False, "trial": True}
    rungs_of_all = list(zip(*(search.rungs for search in searches), strict=True))
    for number, rungs in enumerate(rungs_of_all, 1):
        # On the way up one replicate tells settings apart; the last rung has all of the protocol's.
        rung_fields = ({} if number == len(rungs_of_all) else {"eval_repeats": 1}) | common
        entries = [e for one, rung in zip(searches, rungs, strict=True) for e in one.entries(rung)]
        runs = carry_out_suite(
            make_suite(rung_fields | {"methods": entries, "seeds": list(rungs[0].seeds)}, "the rung"),
            results_folder(results),
            processes,
            gpus_per_run=gpus_per_run,
            retry=retry,
            slurm=slurm,
            observe=observe,
        )
        found = {
            (run.request.method, run.request.seed, key_of(run.request.settings)): run for run in runs
        }
        for one, rung in zip(searches, rungs, strict=True):
            one.take(rung, found)
    return [one.result for one in searches]
