"""The record of a run, ``record.json``: what was asked, what it cost, what came out, and where. Extended, never changed."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

SCHEMA = 1


class Measurement(BaseModel):
    """One number and what it means. ``std`` is the standard deviation over replicates on disjoint seeds."""

    value: float
    std: float | None = None
    values: list[float] | None = None
    """Of the replicates, in their order, where there are several."""
    smallest: float | None = None
    """Of the values, where that is what papers quote."""
    protocol: str


class Evaluation(BaseModel):
    """The metrics at one point of the budget."""

    images: int
    updates: int
    flops: int
    seconds: float
    samples: int
    nfe: int
    metrics: dict[str, Measurement]
    watched: float | None = None
    """The first metric on replicate 0, the same noise every time: what the choice of the best checkpoint goes by."""


class Record(BaseModel):
    """Everything known of a run; what the tables are made of. Unknown fields of later versions are kept."""

    model_config = ConfigDict(extra="allow", validate_by_name=True, serialize_by_alias=True)
    schema_: int = Field(default=SCHEMA, alias="schema")
    run_id: str
    method: str
    teacher: str
    seed: int
    status: Literal["running", "done", "failed", "interrupted"] = "running"
    error: str | None = None
    recipe: dict[str, Any]
    recipe_hash: str
    request: dict[str, Any] = {}
    inputs: dict[str, str] = {}
    sources: dict[str, str] = {}
    protocols: dict[str, dict[str, Any]] = {}
    """Each protocol id used, in full: extractor and its digest, reference and its digest, samples, seeds, quantisation."""
    images: dict[str, int] = {}
    """Channels, resolution and classes of the images."""
    requires: list[str] = []
    """What the method needed beside the teacher; empty means data-free."""
    nfe: int = 1
    parameters: int = 0
    """Parameters of the generator."""
    cost: dict[str, Any] = {}
    evaluations: list[Evaluation] = []
    final: dict[str, float] = {}
    best: dict[str, Any] = {}
    tuning: dict[str, Any] = {}
    environment: dict[str, Any] = {}
    checkpoint: dict[str, str] = {}
    started: str = ""
    finished: str | None = None

    def direction(self, metric: str) -> Literal["lower", "higher"]:
        """Which way of a metric is better."""
        found = (protocol.get("directions", {}).get(metric) for protocol in self.protocols.values())
        return next(filter(None, found), "lower")
