"""Read the labels of EDM's data sets, the file ``dataset.json``."""

import json
from typing import Any

import torch
from torch import Tensor

from bench.plugin import UsageError

MOST_CLASSES = 100_000
"""Most classes; a larger index is taken for damage, since one-hot vectors are that long."""


def parse_labels(text: bytes | bytearray, names: list[str], where: str) -> Tensor | None:
    """Read the labels of the images ``names`` from a ``dataset.json``.

    The file holds ``{"labels": [[name, label], ...]}`` or ``{"labels": null}``. Returns int64
    classes (N,) if all labels are integers, float32 vectors (N, d) if all are lists of d numbers,
    and None for null. Raises UsageError unless each image has exactly one label, all labels are of
    one kind, and there are no others.
    """
    where = f"dataset.json of {where}"
    try:
        pairs = json.loads(text)["labels"]
        by_name = None if pairs is None else dict(pairs)
    except (ValueError, KeyError, TypeError, RecursionError, MemoryError) as error:
        raise UsageError(
            f'{where} is not of the form {{"labels": [["name.png", 0], ...]}} '
            f"({type(error).__name__}); make it with EDM's tool."
        ) from None
    if by_name is None:
        return None
    if len(by_name) < len(pairs):
        raise UsageError(
            f"{where} has {len(pairs):,} labels for {len(by_name):,} images, so some twice; make it again."
        )
    for what, odd in (
        ("lacks", set(names) - by_name.keys()),
        ("has labels for", by_name.keys() - set(names)),
    ):
        if odd:
            which = "images" if what == "lacks" else "images that are not there"
            raise UsageError(
                f"{where} {what} {len(odd):,} {which}, such as {str(min(odd, key=str))[:100]!r}; "
                "make it again."
            )
    labels = [by_name[name] for name in names]
    kinds = {_kind(label): name for name, label in zip(names, labels, strict=True)}
    if len(kinds) == 1:
        (kind,) = kinds
        if kind != _OTHER:
            return torch.tensor(labels, dtype=torch.int64 if kind == _CLASS else torch.float32)
    examples = ", ".join(f"{kind} ({name[:100]})" for kind, name in list(kinds.items())[:3])
    raise UsageError(
        f"{where} has {examples}; expected a {_CLASS} for every image, or a vector of one length "
        "for every image."
    )


_CLASS, _OTHER = f"class from 0 to {MOST_CLASSES - 1:,}", "something that is no label"


def _kind(label: Any) -> str:
    if type(label) is int and 0 <= label < MOST_CLASSES:
        return _CLASS
    if (
        isinstance(label, list)
        and label
        and all(type(v) in (int, float) and abs(v) < 2**53 for v in label)
    ):
        return f"vector of {len(label)}"  # NaN and infinity fail the comparison
    return _OTHER
