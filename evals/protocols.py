"""The protocols of the embedded teachers."""

from __future__ import annotations

from pathlib import Path

from bench.plugin import Protocol

DIGITS_5K = Protocol(
    family="digits",
    samples=5000,
    extractor="digits",
    metrics=("fid", "is"),
    repeats=4,
    reference=Path(__file__).with_name("digits_reference.safetensors"),
)
"""5,000 images in the features of a digit classifier, against all 1,797 digits of scikit-learn; compares only with itself."""

PIXELS_5K = Protocol(family="pixels", samples=5000, extractor="pixels", metrics=("fid",), repeats=4)
"""5,000 images by mean and covariance of their pixels, against exact samples of the teacher's distribution."""
