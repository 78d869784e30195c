"""Generators that their authors released, and the tables in which a package lists such generators."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from pydantic import BaseModel, ValidationError

from bench.errors import UsageError, explain
from bench.files.assets import Asset
from bench.plugin.teacher import ReportedFID


@dataclass(frozen=True)
class Released:
    """A published one-step or few-step generator: the network of a teacher, with other weights."""

    teacher: str
    """Name of the teacher that has the same network, image size and protocol."""
    method: str
    """Name of the method that made it."""
    weights: Asset
    sigmas: tuple[float, ...]
    """Noise levels at which it is called, in order, in image units; one for a one-step generator."""
    published: ReportedFID | None = None
    """The authors' own number, where it is known to be of this very file."""

    @property
    def assets(self) -> tuple[Asset, ...]:
        """The files that it needs."""
        return (self.weights,)

    @classmethod
    def from_table(cls, name: str, facts: Mapping[str, Any]) -> Self:
        """Make the generator of one row of a table. Raises UsageError for a row that lacks a fact."""
        try:
            row = Row.model_validate(facts)
        except ValidationError as error:
            raise UsageError(f"its table says too little or too much: {explain(error)}.") from None
        url = f"{row.folder}/{row.file}"
        weights = Asset(name, url.rpartition("/")[2], url, row.licence, row.source, row.sha256)
        published = ReportedFID(row.fid, 1, row.source) if row.fid else None
        return cls(row.teacher, row.method, weights, row.sigmas, published)


class Row(BaseModel, extra="forbid"):
    """The facts of one generator in a table such as ``teachers/released.yaml``, with its family's."""

    summary: str
    teacher: str
    method: str
    folder: str
    """The address in front of ``file``."""
    file: str
    sha256: str | None = None
    licence: str
    source: str
    sigmas: tuple[float, ...]
    fid: float | None = None
