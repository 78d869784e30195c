"""The protocols of the papers and of the embedded teachers."""

from pathlib import Path

from bench.plugin import Protocol
from evals import references

EDM_50K = Protocol(
    family="edm",
    samples=50_000,
    extractors=("inception", "dinov2"),
    metrics=("fid", "is"),
    repeats=3,
    selection="min",
    references=references.EDM,
)
"""EDM's and most papers': TensorFlow's Inception and resize; tables have the smallest of three FIDs."""

SID_50K = Protocol(
    family="sid",
    samples=50_000,
    extractors=("inception",),
    metrics=("fid", "is", "precision", "recall"),
    repeats=10,
    parameters={"is": {"permutation": None}},
    references=references.SID,
)
"""SiD's sid_metrics: as edm-50k, but the mean of ten, IS in the images' order, precision and recall."""

CLEAN_50K = Protocol(
    family="clean",
    samples=50_000,
    extractors=("clean", "dinov2"),
    metrics=("fid", "kid"),
    repeats=3,
    references=references.CLEAN,
)
"""clean-fid's: the same Inception after an antialiased bicubic resize; not comparable with edm-50k."""

LEGACY_PT_50K = Protocol(
    family="legacy-pt",
    samples=50_000,
    extractors=("legacy-pt",),
    metrics=("fid",),
    repeats=3,
    references=references.LEGACY_PT,
)
"""pytorch-fid's: the same Inception after another bilinear resize; for papers that used it."""

SMOKE_2K = Protocol(
    family="smoke",
    samples=2_000,
    extractors=("inception", "dinov2"),
    metrics=("fid", "is"),
    references=references.EDM,
)
"""edm-50k on 2,000 images, to see that everything works; its FID is far above that of 50,000 images."""

DIGITS_5K = Protocol(
    family="digits",
    samples=5000,
    extractors=("digits",),
    metrics=("fid", "is"),
    repeats=4,
    references={"digits": (Path(__file__).with_name("digits_reference.safetensors"),)},
)
"""5,000 images in the features of a digit classifier, against all 1,797 digits of scikit-learn."""

PIXELS_5K = Protocol(family="pixels", samples=5000, extractors=("pixels",), metrics=("fid",), repeats=4)
"""5,000 images by mean and covariance of their pixels, for teachers of a known distribution."""
