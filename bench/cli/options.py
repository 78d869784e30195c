"""Options that several commands share, each with its flag and its help, and the choice of runs by them.

A new flag of all evaluations is a field of ``EvaluationFlags`` here, and one of ``EvaluationOptions`` in
``bench/runs/options.py``; where it changes a number, of ``SettledEvaluation`` as well.
"""

import functools
import inspect
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import typer

from bench import registry
from bench.errors import UsageError, unknown
from bench.files.paths import path_problem, written_path
from bench.runs.options import MOST
from bench.runs.store import results_folder


def comma_list(text: str | None) -> list[str]:
    """Split ``fid,is`` into its names."""
    return [name.strip() for name in (text or "").split(",") if name.strip()]


def names(text: str | None, what: str = "metrics", example: str = "fid,is") -> list[str] | None:
    """Split a list that must not be empty; None stays None. Raises UsageError for an empty one."""
    if text is not None and not comma_list(text):
        raise UsageError(f"the list of {what} is empty; give some, such as {example}.")
    return comma_list(text) or None


def metric_names(text: str) -> list[str]:
    """Split the metrics of ``--eval``; ``none`` is an empty list. Raises UsageError for no names."""
    return [] if text == "none" else names(text) or []


def without_none(values: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out what is None, which is an option that is not on the command line."""
    return {name: value for name, value in values.items() if value is not None}


def one_of(what: str, name: str, known: Collection[str]) -> str:
    """Return a name that is among the known ones. Raises UsageError for any other."""
    if name not in known:
        raise unknown(what, name, known)
    return name


def terminal_or_json(text: str) -> str:
    """Return a format that every command with numbers has. Raises UsageError for any other."""
    return one_of("format", text, ("terminal", "json"))


def load_plugins(ctx: typer.Context, files: list[str] | None) -> list[str]:
    """Load plugin files, before the command begins; a shell that completes the line loads none."""
    for file in files or [] if not ctx.resilient_parsing else []:
        registry.load_plugin(file)
    return list(files or [])


def name_or_path(text: str) -> str:
    """Return the words for a thing or its path. Raises UsageError for what names neither."""
    if problem := path_problem(text):
        raise UsageError(f"{text[:60]!r} names nothing: it {problem}.")
    return text


_PLUGIN_HELP = "Python file that registers a method, a metric and so on."
PluginFiles = Annotated[list[str] | None, typer.Option("--plugin", metavar="FILE", help=_PLUGIN_HELP)]
Plugins = Annotated[
    list[str] | None,
    typer.Option("--plugin", metavar="FILE", help=_PLUGIN_HELP, callback=load_plugins),
]
"""Plugin files, which are loaded as soon as the command line is read."""
Results = Annotated[
    Path,
    typer.Option(
        "--results",
        metavar="DIR",
        parser=written_path,
        default_factory=results_folder,
        show_default=False,
        help="Folder of runs [default: $BENCH_RESULTS or results/runs].",
    ),
]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")]
Gpus = Annotated[
    int, typer.Option("--gpus", min=1, metavar="N", help="GPUs of one run, which share its batches.")
]
Batch = Annotated[
    int | None, typer.Option(min=1, max=MOST, metavar="N", help="Images made and measured at once.")
]
SourcePath = Annotated[
    str | None,
    typer.Option(
        "--path",
        "--teacher-path",
        parser=name_or_path,
        metavar="FILE",
        help="Weights in place of the usual ones.",
    ),
]
Classes = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        help="Classes that are drawn, where the network knows more, such as a null class for guidance.",
    ),
]
Reference = Annotated[
    str | None,
    typer.Option(
        parser=name_or_path,
        metavar="FILE|DATASET",
        help="Statistics (safetensors, npz) or a data set [default: the protocol's].",
    ),
]
ExtractorPath = Annotated[
    str | None,
    typer.Option(
        parser=name_or_path,
        metavar="FILE",
        help="Weights of the protocol's feature extractor [default: fetched].",
    ),
]
Json = Annotated[
    str, typer.Option("--format", parser=terminal_or_json, metavar="<str>", help="terminal or json.")
]


class EvaluationFlags:
    """The flags of every evaluation, named as the fields of EvaluationOptions."""

    eval: Annotated[
        Any,  # a list of names, which is one word on the command line
        typer.Option(
            "--eval",
            "--metrics",
            parser=metric_names,
            metavar="METRICS",
            help="fid,is and so on, or none [default: the protocol's].",
        ),
    ]
    eval_samples: Annotated[
        int | None, typer.Option(metavar="N", help="Images per evaluation; part of the protocol.")
    ]
    eval_repeats: Annotated[
        int | None,
        typer.Option(metavar="R", help="Replicates of the final evaluation, on disjoint seeds."),
    ]
    protocol: Annotated[str | None, typer.Option(help="Evaluation protocol [default: the teacher's].")]
    reference: Reference
    extractor_path: ExtractorPath
    fast: Annotated[
        bool | None,
        typer.Option(
            "--fast", help="Features in 16 bits; near the exact numbers, and another protocol."
        ),
    ]
    kid_subset_size: Annotated[
        int | None, typer.Option(metavar="N", help="Images in a subset of KID; part of the protocol.")
    ]
    kid_subsets: Annotated[
        int | None, typer.Option(metavar="N", help="Number of KID's subsets; part of the protocol.")
    ]


class RunFlags:
    """The flags of every run beside those of its evaluations, named as the fields of RunOptions."""

    budget: Annotated[
        str | None,
        typer.Option(
            metavar="AXIS=AMOUNT",
            help="images, updates, flops or seconds; suffixes k, M, G, T [default: the method's].",
        ),
    ]
    eval_points: Annotated[
        int | None, typer.Option(metavar="N", help="Evaluations: at zero, then log-spaced. [default: 8]")
    ]
    data: Annotated[
        str | None,
        typer.Option(
            metavar="NAME|PATH",
            help="Real images for the methods that need them [default: the teacher's].",
        ),
    ]
    teacher_path: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="Weights to read in place of the teacher's usual ones."),
    ]
    classes: Classes
    plugins: PluginFiles
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda or cuda:N. [default: auto]")]
    batch_gpu: Annotated[
        str | None,
        typer.Option(
            metavar="N|auto",
            help="Images at once on one device, auto for what fits; the results are the same "
            "[default: all].",
        ),
    ]
    capture: Annotated[
        bool | None,
        typer.Option(
            "--capture",
            help="Record updates as CUDA graphs: a small network or batch is many times faster.",
        ),
    ]
    recompute: Annotated[
        bool | None,
        typer.Option(
            "--recompute",
            help="Compute activations again in the backward pass: a third more time, much less memory.",
        ),
    ]
    compile: Annotated[
        str | None,
        typer.Option(
            metavar="frozen|trained|all", help="Networks that torch.compile turns into fewer kernels."
        ),
    ]
    channels_last: Annotated[
        str | None,
        typer.Option(
            metavar="frozen|trained|all", help="Networks whose weights lie with their channels last."
        ),
    ]
    on_divergence: Annotated[
        str | None,
        typer.Option(
            metavar="stop|skip|rollback",
            help="Of a loss that is not finite: fail, leave the update out, or go back to the last "
            "checkpoint and on with other random numbers. [default: stop]",
        ),
    ]
    deterministic: Annotated[
        bool | None,
        typer.Option("--deterministic", help="On a GPU, the same bits each time; slower."),
    ]
    milestones: Annotated[
        bool | None,
        typer.Option(
            "--milestones", help="Keep the weights of every evaluation, for `eval --all-checkpoints`."
        ),
    ]
    keep: Annotated[
        int | None, typer.Option(metavar="K", help="Checkpoints kept, the last ones. [default: 2]")
    ]
    track: Annotated[
        str | None,
        typer.Option(
            metavar="tensorboard|wandb",
            help="Show curves, numbers, samples and recipe to a tracker of experiments as well.",
        ),
    ]


def takes(*groups: type) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command the flags of some groups in place of its parameter ``flags``.

    The command receives a dictionary of those that are on the command line, by the names of the fields.
    """
    hints = {
        name: hint
        for group in groups
        for name, hint in get_type_hints(group, include_extras=True).items()
    }
    keyword = inspect.Parameter.KEYWORD_ONLY
    added = [
        inspect.Parameter(name, keyword, default=None, annotation=hint) for name, hint in hints.items()
    ]

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        parameters = []
        for parameter in inspect.signature(command, eval_str=True).parameters.values():
            parameters += added if parameter.name == "flags" else [parameter.replace(kind=keyword)]

        @functools.wraps(command)
        def with_flags(**values: Any) -> None:
            flags = {name: values.pop(name) for name in hints}
            command(**values, flags=without_none(flags))

        with_flags.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        return with_flags

    return decorate


def require_one_gpu(gpus: int) -> None:
    """Raise UsageError for an estimate of a run on several GPUs."""
    if gpus > 1:
        raise UsageError(
            "--dry-run estimates one GPU; leave --gpus out, and give --batch-gpu N for the images of each."
        )
