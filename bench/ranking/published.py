"""Numbers that others have published, ``results/published.yaml``.

Each has its source, and says whether it was seen there.
"""

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from bench.files.documents import read_yaml

PUBLISHED = "published"
"""Stands in the place of a protocol, so that published and measured numbers share no column."""


class Paper(BaseModel):
    """A paper or repository.

    ``author`` is in BibTeX's form, with family names alone where the survey has no more.
    """

    model_config = ConfigDict(extra="forbid")
    author: str | None = None
    title: str
    venue: str | None = None
    """The conference or journal; None of a preprint."""
    year: int = Field(ge=2000, le=2100)
    arxiv: str | None = Field(None, pattern=r"^\d{4}\.\d{4,5}$")
    arxiv_checked: bool = True
    url: str | None = None


class Claim(BaseModel):
    """What others say of a method on a data set, and where that was seen."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)
    method: str
    """The name of the method in this suite, where it has the method."""
    variant: str | None = None
    dataset: str
    verified: bool
    """True if it was seen in the paper, its official repository, or a second paper."""
    seen_in: list[str] = []
    notes: str | None = None


class Result(Claim):
    """One published row; a number that the source does not give, or that was not seen, is None."""

    model_config = ConfigDict(populate_by_name=True, allow_inf_nan=False)
    label: str
    """The name that papers print."""
    kind: Literal["distillation", "tuning", "from-scratch", "gan", "teacher", "reproduction"]
    teacher: str | None = None
    """The network that this one was distilled from, or that it started as."""
    nfe: int = Field(ge=1)
    fid: float | None = Field(None, gt=0)
    fid_std: float | None = Field(None, ge=0)
    inception_score: float | None = Field(None, gt=0, alias="is")
    precision: float | None = Field(None, ge=0, le=1)
    recall: float | None = Field(None, ge=0, le=1)
    selection: str | None = None
    """The choice among several evaluations, where the source states it."""
    reference: Literal["virtual"] | None = None
    """``virtual`` of a number measured against the VIRTUAL batch of ADM, not the reference of EDM."""
    data_free: bool | None = None
    """True if it needs neither real images nor images made by the teacher; None of a teacher."""
    teacher_samples: bool = False
    """True if it is trained on images or trajectories that the teacher made beforehand."""
    pretrained_features: bool = False
    """True if its discriminator uses features pretrained on ImageNet, which the network of FID shares.
    """
    training_images: int | None = Field(None, gt=0)
    """Images that the generator has seen in the published run."""
    checkpoint_images: int | None = Field(None, gt=0)
    """Images that the generator of the released checkpoint has seen, by the name of its file."""
    batch_size: int | None = Field(None, gt=0)
    hardware: str | None = None
    source: str
    """Key among the sources."""
    table: str | None = None

    @model_validator(mode="after")
    def _holds_together(self) -> Self:
        if self.verified and not self.seen_in:
            raise ValueError("verified, but seen_in names nothing")
        if self.data_free and self.teacher_samples:
            raise ValueError("data_free, but trained on what the teacher made beforehand")
        return self


class Milestone(Claim):
    """FID of a published run by the images that its generator had seen."""

    images: int = Field(gt=0)
    fid: float = Field(gt=0)
    seen_in: list[str]


class PublishedNumbers(BaseModel):
    """The content of ``published.yaml``."""

    model_config = ConfigDict(extra="forbid")
    datasets: dict[str, list[str]]
    """By data set its teachers; the first one stands for the data set where no other is shown."""
    cautions: list[str]
    sources: dict[str, Paper]
    results: list[Result]
    milestones: list[Milestone] = []

    @model_validator(mode="after")
    def _names_are_known(self) -> Self:
        claims: list[Claim] = [*self.results, *self.milestones]
        for claim in claims:
            if claim.dataset not in self.datasets:
                raise ValueError(
                    f"{claim.method} names the data set {claim.dataset!r}, which is not among datasets"
                )
        for result in self.results:
            if result.source not in self.sources:
                raise ValueError(
                    f"{result.label} names the source {result.source!r}, which is not among sources"
                )
        return self

    def shown_under(self, teachers: Sequence[str]) -> dict[str, str]:
        """Return by data set the first of these teachers that was trained on it."""
        shown = {name: [t for t in teachers if t in own] for name, own in self.datasets.items()}
        return {name: own[0] for name, own in shown.items() if own}


@cache
def published() -> PublishedNumbers:
    """Return the published numbers that this suite ships.

    They lie beside this module in a package, and under ``results/`` in the repository, which an editable
    install reads.
    """
    file = Path(__file__).with_name("published.yaml")
    if not file.exists():
        file = Path(__file__).parents[2] / "results" / "published.yaml"
    return PublishedNumbers.model_validate(read_yaml(file, installed=True))
