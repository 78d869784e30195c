"""Tuning a method: trials of settings from a search space, at one budget and a seed of its own."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from bench import registry
from bench.api import carry_out_suite
from bench.errors import UsageError, unknown
from bench.ranking.trials import Sweep, Trial
from bench.runs.events import Note, Observer, ignore
from bench.runs.recipe import make_request
from bench.runs.search import (
    MOST_TRIALS,
    WAYS,
    Range,
    Space,
    combinations,
    distinct,
    key_of,
    multiplied,
    require_sound,
)
from bench.runs.store import results_folder
from bench.runs.suite import make_suite

SEED = 1000
"""Seed of the trials, far from those of tables, so that a table's seeds have chosen nothing."""
TRIES = 20
"""Times that Optuna is asked for each trial, as it may suggest settings again that were tried."""
Settings = dict[str, Any]
TryAll = Callable[[Sequence[Settings]], list[Trial]]
"""Carries out trials of these settings."""


def sweep(
    method: str,
    teacher: str,
    *,
    search: Mapping[str, Any] | None = None,
    trials: int = 8,
    by: str = "random",
    seed: int = SEED,
    settings: Mapping[str, Any] | None = None,
    results: Path | str | None = None,
    processes: int | None = None,
    gpus_per_run: int = 1,
    retry: bool = False,
    slurm: Mapping[str, str] | None = None,
    observe: Observer = ignore,
    **fields: Any,
) -> Sweep:
    """Try settings of a method, each as a run of its own, and return the trials; finished ones are reused.

    Args:
        method: a method of ``bench list methods``.
        teacher: a teacher of ``bench list teachers``.
        search: by setting, a list of values, a pair ``(low, high)`` as a tuple, or the fields of a
            ``Range``; by default what the method's card says for the teacher.
        trials: how many; a grid has as many as it has combinations.
        by: ``random`` draws each setting from its range, the first trials always alike and none twice;
            ``grid`` takes every combination; ``optuna`` learns from the trials before (pip install optuna).
        seed: that of every trial; not one of those that a table will show.
        settings: settings that all trials have.
        results: the folder of runs; by default ``$BENCH_RESULTS`` or ``results/runs``.
        processes: runs at a time; by default one a GPU, or one a core.
        gpus_per_run: GPUs that share a run's batches.
        retry: take failed trials up again, which count as failed otherwise.
        slurm: options of ``sbatch``, with which the trials are submitted to a cluster.
        observe: is told how the runs go.
        fields: those of a suite, such as ``budget`` and ``eval``; the first metric judges. Unless
            ``eval_points`` says otherwise, trials are measured at their end alone.

    Raises UsageError for a space, setting or budget that cannot be.
    """
    if by not in WAYS:
        raise unknown("way of choosing settings", by, WAYS)
    if by == "halving":
        raise UsageError("a sweep has one budget; halving, with several, is bench.halve of Python.")
    if not 1 <= trials <= MOST_TRIALS:
        raise UsageError(f"{trials} trials are asked for, expected 1 to {MOST_TRIALS:,}.")
    for plugin in fields.get("plugins") or ():
        registry.load_plugin(plugin)
    space = search_space_of(method, teacher, search)
    require_apart(settings or {}, space, fields)
    folder = results_folder(results)

    def try_all(choices: Sequence[Settings]) -> list[Trial]:
        # As a request has them, so that each is found among the runs.
        whole = [
            make_request(
                method=method, teacher=teacher, settings={**(settings or {}), **chosen}
            ).settings
            for chosen in choices
        ]
        entries = [{"method": method, "settings": each} for each in whole]
        suite = make_suite(
            {"eval_points": 1, "trial": True}
            | fields
            | {"methods": entries, "teachers": [teacher], "seeds": [seed], "with_teacher": False},
            "the sweep",
        )
        runs = carry_out_suite(
            suite,
            folder,
            processes,
            gpus_per_run=gpus_per_run,
            retry=retry,
            slurm=slurm,
            observe=observe,
        )
        found = {key_of(run.request.settings): run for run in runs}  # equal trials are one run
        same = [found[key_of(each)] for each in whole]
        return [Trial(chosen, run.record, run.error) for chosen, run in zip(choices, same, strict=True)]

    if by == "optuna":
        tried = _learn(space, trials, processes or 1, seed, try_all)
    elif by == "grid":
        tried = try_all(combinations(space))
    else:
        choices = distinct(space, method, trials)
        if len(choices) < trials:
            observe(Note(f"the space has {len(choices)} choices, of {trials} that were asked for."))
        tried = try_all(choices)
    return Sweep(method, teacher, seed, by, tried, settings or {})


def require_apart(settings: Mapping[str, Any], space: Space, fields: Mapping[str, Any]) -> None:
    """Raise UsageError for a setting that is given and searched for too, and where nothing judges."""
    if both := [name for name in settings if name in space]:
        raise UsageError(
            f"{both[0]} is a setting of all trials and searched for too, expected one of both; leave it out, "
            "or say by --search what is searched."
        )
    if fields.get("eval") == []:
        raise UsageError("trials are judged by their first metric; give some, such as --eval fid.")


def search_space_of(method: str, teacher: str, search: Mapping[str, Any] | None) -> Space:
    """Return the space that was given, or that of the method's card for the teacher."""
    # Here because of torch.
    from bench.settings import search_space

    if search is None:
        space: Space = search_space(registry.methods.get(method), teacher)
        what = f"the card of {method!r} for {teacher!r}"
    else:
        space = {name: _range(name, of) for name, of in search.items()}
        what = "the search space"
    require_sound(space, what)
    return space


def _range(name: str, of: Any) -> Range:
    try:
        if isinstance(of, Range):
            return of
        if isinstance(of, tuple):
            low, high = of
            return Range(low=low, high=high)
        return Range(values=of) if isinstance(of, list) else Range.model_validate(of)
    except ValueError:
        raise UsageError(
            f"the range of {name} is {of!r}, expected a list of values, a tuple (low, high), or a dictionary "
            "of values, or of low and high, and times and reason."
        ) from None


def _learn(space: Space, trials: int, at_once: int, seed: int, try_all: TryAll) -> list[Trial]:
    """Let Optuna choose settings by the trials before, as many at a time as are carried out together."""
    try:
        import optuna  # an extra
    except ImportError:
        raise UsageError("--by optuna needs Optuna; `pip install optuna`.") from None
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=seed))
    tried: list[Trial] = []
    while len(tried) < trials:
        known = {key_of(trial.settings) for trial in tried}
        asked = _ask(study, space, known, min(at_once, trials - len(tried)))
        if not asked:
            break  # the space has no more, or Optuna sees nothing else in it
        new = try_all([settings for _, settings in asked])
        tried += new
        judged = Sweep("", "", seed, "optuna", tried)
        for (trial, _), one in zip(asked, new, strict=True):
            value = None if one.error or one.record is None else judged.value(one)
            if value is None:
                study.tell(trial, state=optuna.trial.TrialState.FAIL)
            else:
                study.tell(trial, value if judged.direction == "lower" else -value)
    return tried


def _ask(study: Any, space: Space, known: set[str], count: int) -> list[tuple[Any, Settings]]:
    """Ask Optuna for so many trials with settings that are not known, with these settings."""
    # As in _learn.
    from optuna.trial import TrialState

    asked: dict[str, tuple[Any, Settings]] = {}
    for _ in range(TRIES * count):
        if len(asked) == count:
            break
        trial = study.ask()
        settings = _suggested(space, trial)
        if (words := key_of(settings)) in known or words in asked:
            study.tell(trial, state=TrialState.FAIL)
        else:
            asked[words] = trial, settings
    return list(asked.values())


def _suggested(space: Space, trial: Any) -> Settings:
    """Ask Optuna for a value of each range."""
    chosen: Settings = {}
    for name, of in space.items():
        if of.values is not None:
            place = trial.suggest_categorical(name, list(range(len(of.values))))
            chosen[name] = of.values[place]
        elif of.whole:
            chosen[name] = trial.suggest_int(
                name, int(of.low or 0), int(of.high or 0), log=of.logarithmic
            )
        else:
            chosen[name] = trial.suggest_float(name, of.low, of.high, log=of.logarithmic)
    return multiplied(space, chosen)
