"""The Frechet distance to real images that no training has seen."""

from dataclasses import dataclass

from bench.plugin import HeldOutMoments
from evals.fid import FID


@dataclass(frozen=True)
class TestFID(FID):
    """Frechet distance to held-out real images; well above ``fid`` where the training set is remembered."""

    reference_statistics = HeldOutMoments
