"""The recipe as a record holds it, whichever version of the suite has written that."""

from typing import Any

from pydantic import BaseModel, ConfigDict


class Part(BaseModel):
    """A part of a record.

    Fields that other versions of the suite have added are kept, and those that they lack are unset.
    """

    model_config = ConfigDict(extra="allow")

    def as_given(self) -> dict[str, Any]:
        """Return the part as plain data for JSON, with the fields that were given and no others."""
        return self.model_dump(mode="json", exclude_unset=True)


class RecordedEvaluation(Part):
    """When and how a run was measured; None stands for what a record does not say."""

    protocol: str | None = None
    samples: int | None = None
    """Generated images of each replicate."""
    metrics: list[str] | None = None
    repeats: int | None = None
    """Replicates, on disjoint seeds, behind a final number."""
    points: int | None = None
    """Evaluations along the run, the last one included."""
    fast: bool | None = None
    """True if features were computed in 16 bits."""
    extractors: dict[str, str] | None = None
    """SHA-256 of the weights by extractor."""
    extractor_path: str | None = None
    reference: str | None = None
    """File or data set given in place of the protocol's reference."""
    references: str | None = None
    """Digests of files of statistics, and names of data sets that are measured when they are needed."""
    code: str | None = None
    """Digest of the code of extractors and metrics: edited ones make another run."""


class RecordedRecipe(Part):
    """The choices of a run as its record has them.

    ``Recipe`` has the same fields and requires that they are complete.
    """

    method: str = ""
    method_digest: str = ""
    """Digest of the method's code: an edited method is another run."""
    teacher: str = ""
    seed: int = 0
    budget: str | None = None
    """None for a method that does not train."""
    settings: dict[str, Any] = {}
    evaluation: RecordedEvaluation | None = None
    """None where nothing was to be measured."""
    teacher_digest: str = ""
    teacher_code: str = ""
    """Digest of the teacher's code, noise levels, sampler and augmentation: a changed teacher is
    another run.
    """
    teacher_path: str | None = None
    """File of the teacher's weights, where one was given in place of the usual one."""
    data: str | None = None
    supplies: dict[str, str] = {}
    """Requirements of the method by kind: digests of contents, or the name of a data set."""
    plugins: dict[str, str] = {}
    """Plugin files and their SHA-256, by which they are known again."""
    plugin_code: str = ""
    """Digest of the plugins' code and of the modules beside them that they use."""
