"""Numbers that others have published, ``results/published.yaml``: each with its source, and whether it was seen there."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from bench.files.yaml_files import read_yaml

PUBLISHED = "published"
"""What stands in the place of a protocol's id, so that a published number never shares a column with a measured one."""

Kind = Literal["distillation", "tuning", "from-scratch", "gan", "teacher", "reproduction"]


class Paper(BaseModel):
    """A paper or repository. ``author`` is BibTeX's, family names alone as far as the survey has them."""

    model_config = ConfigDict(extra="forbid")
    author: str | None = None
    title: str
    venue: str | None = None
    """None of a preprint."""
    year: int = Field(ge=2000, le=2100)
    arxiv: str | None = Field(None, pattern=r"^\d{4}\.\d{4,5}$")
    arxiv_checked: bool = True
    url: str | None = None


class Result(BaseModel):
    """One published row. A number that the source does not give, or that was not seen, is None."""

    model_config = ConfigDict(extra="forbid", populate_by_name=True)
    method: str
    """As this suite names it, where it has it."""
    label: str
    """As papers print it."""
    variant: str | None = None
    kind: Kind
    dataset: str
    teacher: str | None = None
    """What the network was distilled from or started as."""
    nfe: int = Field(ge=1)
    fid: float | None = Field(None, gt=0)
    fid_std: float | None = Field(None, ge=0)
    inception_score: float | None = Field(None, gt=0, alias="is")
    precision: float | None = Field(None, ge=0, le=1)
    recall: float | None = Field(None, ge=0, le=1)
    selection: str | None = None
    """Which number of several evaluations it is, where the source says so."""
    reference: Literal["virtual"] | None = None
    """``virtual``: measured against ADM's VIRTUAL batch rather than EDM's reference."""
    data_free: bool | None = None
    """Whether it needs neither real images nor images made by the teacher beforehand; None of a teacher."""
    teacher_samples: bool = False
    """Whether it is trained on images or trajectories that the teacher made beforehand."""
    pretrained_features: bool = False
    """Whether its discriminator looks through features pretrained on ImageNet, which FID's own network shares."""
    training_images: int | None = Field(None, gt=0)
    """Images seen by the generator in the published run."""
    checkpoint_images: int | None = Field(None, gt=0)
    """The same of the released checkpoint, from its file's name."""
    batch_size: int | None = Field(None, gt=0)
    hardware: str | None = None
    source: str
    """Key of the source."""
    table: str | None = None
    verified: bool
    """Whether the number was seen in the original paper, its official repository, or a second paper."""
    seen_in: list[str] = []
    notes: str | None = None

    def metric(self, name: str) -> float | None:
        """The number of a metric by the name that this suite has for it."""
        value: float | None = getattr(self, "inception_score" if name == "is" else name)
        return value

    @model_validator(mode="after")
    def _holds_together(self) -> Self:
        if self.verified and not self.seen_in:
            raise ValueError("verified, but seen_in names nothing")
        if self.data_free and self.teacher_samples:
            raise ValueError("data_free, but trained on what the teacher made beforehand")
        return self


class Milestone(BaseModel):
    """FID of a published run by the images that its generator had seen."""

    model_config = ConfigDict(extra="forbid")
    method: str
    variant: str | None = None
    dataset: str
    images: int = Field(gt=0)
    fid: float = Field(gt=0)
    verified: bool
    seen_in: list[str]
    notes: str | None = None


class PublishedNumbers(BaseModel):
    """The whole file."""

    model_config = ConfigDict(extra="forbid")
    datasets: dict[str, list[str]]
    """For each data set the teachers of it; the first one's name stands for the data set where there is no other."""
    cautions: list[str]
    sources: dict[str, Paper]
    results: list[Result]
    milestones: list[Milestone] = []

    @model_validator(mode="after")
    def _names_are_known(self) -> Self:
        rows: list[Result | Milestone] = [*self.results, *self.milestones]
        for row in rows:
            if row.dataset not in self.datasets:
                raise ValueError(f"{row.method} names the data set {row.dataset!r}, which is not among datasets")
        for result in self.results:
            if result.source not in self.sources:
                raise ValueError(f"{result.label} names the source {result.source!r}, which is not among sources")
        return self

    def shown_under(self, teachers: Sequence[str]) -> dict[str, str]:
        """For each data set of these teachers the first of them that was trained on it."""
        found = {name: [t for t in teachers if t in own] for name, own in self.datasets.items()}
        return {name: own[0] for name, own in found.items() if own}


@cache
def published() -> PublishedNumbers:
    """The published numbers that this suite ships."""
    return PublishedNumbers.model_validate(read_yaml(_file(), installed=True))


def _file() -> Path:
    """In an installed package beside this module; in the repository, which an editable install reads, under ``results/``."""
    beside = Path(__file__).with_name("published.yaml")
    return beside if beside.exists() else Path(__file__).parents[2] / "results" / "published.yaml"
