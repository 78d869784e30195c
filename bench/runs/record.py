"""The record of a run, ``record.json``: the request, the cost, the results, and the machine.

Later versions of the suite may add fields and never change one.
"""

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, Field, PlainSerializer, model_validator

from bench.runs.budget import Amount, Count, Ledger

SCHEMA = 1
Number = Annotated[float, Field(strict=True)]
"""A measured number, which is neither a truth value nor a text."""
Direction = Literal["lower", "higher"]
"""The direction in which a metric is better."""


class Part(BaseModel, extra="allow"):
    """A part of a record.

    Fields that other versions of the suite have added are kept, and those that they lack are unset.
    """

    def as_given(self) -> dict[str, Any]:
        """Return the part as plain data for JSON, with the fields that were given and no others."""
        return self.model_dump(mode="json", exclude_unset=True)


class RecordedEvaluation(Part):
    """When and how a run was measured; None stands for what a record does not say."""

    protocol: str | None = None
    samples: Count | None = None
    """Generated images of each replicate."""
    metrics: list[str] | None = None
    repeats: Count | None = None
    """Replicates, on disjoint seeds, behind a final number."""
    points: Count | None = None
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
    seed: Count = 0
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
    classes: int | None = None
    """Number of classes that are drawn, where the teacher's network knows more."""
    data: str | None = None
    supplies: dict[str, str] = {}
    """Requirements of the method by kind: digests of contents, or the name of a data set."""
    plugins: dict[str, str] = {}
    """Plugin files that the run uses and their SHA-256, by which they are known again."""
    on_divergence: str = "stop"
    """``rollback`` where the run goes back to its last checkpoint from a loss that is not finite."""
    plugin_code: str = ""
    """Digest of the code of these plugins and of the modules beside them that they use."""


class Measurement(Part):
    """The number of one metric under one protocol."""

    value: Number
    """The mean over the replicates, where there are several."""
    std: Amount | None = None
    """Standard deviation over replicates, which are generated from disjoint seeds."""
    values: list[Number] | None = None
    """The number of each replicate, in their order, where there are several."""
    smallest: Number | None = None
    """The smallest of the replicates, where papers quote that."""
    protocol: str


class Evaluation(Part):
    """The metrics at one point of the budget, and the cost up to there."""

    images: Count
    updates: Count
    flops: Count
    seconds: Amount
    samples: Count
    """Generated images of each replicate."""
    nfe: Count
    """Evaluations of the network for an image."""
    metrics: dict[str, Measurement]
    watched: Number | None = None
    """The first metric on replicate 0, always from the same noise, which the best checkpoint is chosen
    by.
    """


class UsedProtocol(Part):
    """A protocol that numbers of the record were measured under, in full."""

    samples: Count | None = None
    """Generated images of each replicate."""
    extractors: dict[str, str] = {}
    """SHA-256 of the weights by extractor."""
    extractor_precision: str = ""
    directions: dict[str, Direction] = {}
    """The direction of each metric."""
    compares: list[str] | None = None
    """Metrics that compare with reference images; None in records of versions that did not say."""
    units: dict[str, str] = {}
    """The unit of each metric that has one."""
    parameters: dict[str, Any] = {}
    """The parameters of each metric that has any, such as its number of splits."""
    quantisation: str = ""
    seeds: str = ""
    labels: str = ""
    selection: str = ""
    """The number that stands for all replicates: their mean or the smallest."""
    references: list[dict[str, Any]] = []
    """Facts about the statistics compared with: their maker, images and SHA-256."""


class BestCheckpoint(Part):
    """The final numbers, by metric, of the checkpoint that the training curve would have chosen."""

    __pydantic_extra__: dict[str, Number] = Field(init=False)
    images: Count = 0
    """Images that its generator had been trained on."""
    selection: str = ""
    """The place of the checkpoint among the evaluations, in words."""

    @property
    def metrics(self) -> dict[str, float]:
        """The number of each metric; empty in the record of a run that is not finished."""
        return self.__pydantic_extra__

    def as_given(self) -> dict[str, Any]:
        """Return the metrics and what was chosen, in this order."""
        return self.metrics | self.model_dump(include=set(type(self).model_fields), exclude_unset=True)


class RecordedTuning(Part):
    """The effort behind the settings: runs that were tried, and how one was chosen; unset if unknown."""

    runs: Count | None = None
    note: str = ""
    flops: Amount | None = None
    """Operations of all those runs; None if unknown."""


class Environment(Part):
    """The machine and the software that a run was carried out with."""

    python: str = ""
    torch: str = ""
    device: str = ""
    threads: Count | None = None
    precision: str = ""
    world_size: Count = 1
    """Processes of the run."""
    batch_gpu: int | None = None
    """Images computed at once on one device; None is the whole batch."""
    deterministic: bool | None = None
    """True if this machine would compute the same bits again; None where the record does not say."""
    captured: bool = False
    """True if updates were recorded as CUDA graphs."""
    recomputed: bool = False
    """True if the networks' blocks were computed again in the backward pass."""
    compiled: Literal["frozen", "trained", "all"] | None = None
    """Networks that torch.compile had turned into fewer kernels."""
    channels_last: Literal["frozen", "trained", "all"] | None = None
    """Networks whose weights lay with their channels last."""
    commit: str | None = None
    """The commit of the suite, where it runs from its repository."""
    packages: dict[str, str] = {}
    """Installed versions by distribution."""


class WeightsFile(Part):
    """The trained generator's weights; ``path`` is relative to the run's folder."""

    path: str = ""
    sha256: str = ""
    tensors_sha256: str = ""
    """Of the weights alone: the file also holds the seconds of their training, which no two runs share."""


class Beginning(Part):
    """The generator's weights after the first updates, by which a repetition is told from another run."""

    updates: int = 0
    tensors_sha256: str = ""


AsGiven = PlainSerializer(lambda part: part.as_given())
"""Writes a part with the fields that it was read with: records of other versions stay as they are."""


class Record(BaseModel, extra="allow", validate_by_name=True, serialize_by_alias=True):
    """Everything known of a run, and all that tables, figures and reports are made of.

    Fields of later versions are kept.
    """

    schema_: int = Field(default=SCHEMA, le=SCHEMA, alias="schema")
    run_id: str
    method: str
    teacher: str
    seed: Count
    status: Literal["running", "done", "failed", "interrupted"] = "running"
    error: str | None = None
    """Why the run failed, where it did."""
    rollbacks: list[str] = []
    """Why the run went back to a checkpoint, each time that it did."""
    skipped: Count = 0
    """Updates that were left out because their gradients were not finite, by ``--on-divergence skip``."""
    recipe: Annotated[RecordedRecipe, AsGiven]
    recipe_hash: str
    request: dict[str, Any] = {}
    """The fields of the request as it was made, before defaults were filled in."""
    inputs: dict[str, str] = {}
    """Files that the run depended on, and their SHA-256; empty for a card that was not there."""
    sources: dict[str, str] = {}
    """By setting, where its value comes from: a paper, official code, or ``given`` by hand."""
    protocols: dict[str, Annotated[UsedProtocol, AsGiven]] = {}
    """The protocols by the id that the measurements name."""
    images: dict[str, Count] = {}
    """Channels, resolution and classes of the images."""
    requires: list[str] = []
    """Kinds of requirements that the method had beside the teacher."""
    data_free: bool | None = None
    """True if the method needed neither real images nor images made by the teacher beforehand."""
    nfe: Count = 1
    """Evaluations of the network for an image, by the finished generator."""
    parameters: Count = 0
    """Number of the generator's parameters."""
    cost: Ledger = Field(default_factory=Ledger)
    evaluations: list[Evaluation] = []
    final: dict[str, Number] = {}
    """By metric, the numbers that count: those of the last evaluation of a finished run."""
    best: Annotated[BestCheckpoint, AsGiven] = BestCheckpoint()
    tuning: Annotated[RecordedTuning, AsGiven] = RecordedTuning()
    environment: Annotated[Environment, AsGiven] = Environment()
    checkpoint: Annotated[WeightsFile, AsGiven] = WeightsFile()
    beginning: Annotated[Beginning, AsGiven] = Beginning()
    started: str = ""
    """When the run began, in UTC by ISO 8601."""
    finished: str | None = None
    """When it ended, in whatever state."""

    @model_validator(mode="after")
    def _say_whether_data_free(self) -> Self:
        """Let a record of before say so by the kinds of its requirements."""
        if self.data_free is None:
            self.data_free = not {"TeacherPairs", "RealImages"} & set(self.requires)
        return self

    def direction(self, metric: str) -> Direction:
        """Return the direction in which a metric is better; lower where no protocol states it."""
        directions = (protocol.directions.get(metric) for protocol in self.protocols.values())
        return next(filter(None, directions), "lower")
