"""The options of a run and of its evaluations, as requests, suites and commands share them."""

import os
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BaseModel, Field, field_validator, model_validator

from bench import registry
from bench.files.paths import path_problem


def _absolute(path: str | None) -> str | None:
    """The same words in another folder mean another file."""
    if path is not None and (problem := path_problem(path)):
        raise ValueError(f"the path {problem}")
    return None if path is None else str(Path(path).expanduser().absolute())


def absolute_if_there(path: str | None) -> str | None:
    """A path that leads somewhere from here, in words that lead there from everywhere; anything
    else as it is.
    """
    absolute = _absolute(path)
    return absolute if absolute and os.path.exists(absolute) else path


def _images_at_once(value: int | str | None) -> int | str | None:
    """A number above 0, or ``auto``."""
    number = int(value) if isinstance(value, str) and value.isdecimal() else value
    if number is None or number == "auto" or (isinstance(number, int) and number > 0):
        return number
    raise ValueError(f"expected a number of images above 0, or auto, given {value!r}")


def _dataset_or_path(name: str | None) -> str | None:
    """The name of a data set comes before a file or folder of the same name."""
    return name if name in registry.datasets.entries() else absolute_if_there(name)


MOST = 10**9
"""Most images, replicates or points of an evaluation, far above what anybody can carry out."""
File = Annotated[str | None, AfterValidator(_absolute)]
DatasetOrPath = Annotated[str | None, AfterValidator(_dataset_or_path)]


class EvaluationOptions(BaseModel, extra="forbid"):
    """The options of an evaluation; None leaves one to the protocol.

    A request for a run and a suite have these fields too, and every command that measures has their flags.
    """

    eval: list[str] | None = None
    """Metrics; an empty list measures nothing."""
    eval_samples: int | None = Field(default=None, ge=2, le=MOST)
    """Generated images for each replicate."""
    eval_repeats: int | None = Field(default=None, ge=1, le=MOST)
    """Replicates, on disjoint seeds, behind a final number."""
    protocol: str | None = None
    """In place of the one that the teacher names."""
    reference: DatasetOrPath = None
    """A file of statistics, or a data set by name or path, in place of the protocol's."""
    extractor_path: File = None
    """Weights of the protocol's extractor, in place of the usual ones."""
    fast: bool = False
    """Compute features in 16 bits: another protocol."""
    kid_subset_size: int | None = Field(default=None, ge=2, le=MOST)
    """Images in each subset of KID, in place of the protocol's: another protocol."""
    kid_subsets: int | None = Field(default=None, ge=1, le=MOST)
    """Number of KID's subsets."""

    @property
    def measures(self) -> bool:
        """True unless nothing is to be measured."""
        return self.eval != []


class RunOptions(EvaluationOptions):
    """The options of any run, in a request as in a suite."""

    budget: str | None = None
    """One amount on one axis, such as ``images=200k``; None leaves it to the method."""
    eval_points: int | None = Field(default=None, ge=1, le=MOST)
    """Evaluations along the run: at zero, then logarithmically spaced."""
    data: DatasetOrPath = None
    """Data set in place of the teacher's own, by name or path, for methods that learn from real images."""
    teacher_path: File = None
    """Weights in place of the teacher's usual ones."""
    classes: int | None = Field(default=None, ge=1)
    """Classes that are drawn, the first ones, where the teacher's network knows more, such as a null
    class for guidance; None for all.
    """
    plugins: list[str] = []
    """Python files that register methods, teachers, metrics and so on."""
    device: str = "auto"
    batch_gpu: Annotated[int | str | None, AfterValidator(_images_at_once)] = None
    """Images computed at once on one device, ``auto`` for as many as fit; None is the whole batch."""
    capture: bool = False
    """Record updates as CUDA graphs, on a GPU: the same mathematics without waiting for the host."""
    recompute: bool = False
    """Compute the networks' blocks again in the backward pass, to save memory."""
    compile: Literal["frozen", "trained", "all"] | None = None
    """Networks for torch.compile, by whether they are trained."""
    channels_last: Literal["frozen", "trained", "all"] | None = None
    """Networks whose weights lie with their channels last."""
    on_divergence: Literal["stop", "skip", "rollback"] = "stop"
    """After a loss that is not finite: fail, leave the update out, or go back to the last checkpoint."""
    deterministic: bool = False
    """On a GPU, compute by algorithms that give the same bits each time, or fail where there are none."""
    milestones: bool = False
    """Keep the generator's weights at every evaluation, to be measured again by another protocol."""
    keep: int = Field(default=2, ge=1)
    """Checkpoints kept: the last ones."""
    track: Literal["tensorboard", "wandb"] | None = None
    """The tracker of experiments that is shown the run as it goes."""

    @model_validator(mode="after")
    def _of_one_kind(self) -> Self:
        """Updates are recorded, computed again or compiled: one of them."""
        chosen = [name for name in ("capture", "recompute", "compile") if getattr(self, name)]
        if len(chosen) > 1:
            flags = " and ".join(f"--{name}" for name in chosen)
            raise ValueError(f"{flags} do not go together, leave all but one of them out")
        return self

    @field_validator("plugins")
    @classmethod
    def _absolute_plugins(cls, paths: list[str]) -> list[str]:
        return [str(_absolute(path)) for path in paths]


OF_TEACHER = {"teacher_path", "classes", "plugins", "device"}
"""Options of a run that count for sampling its teacher too, beside those of its evaluation."""
