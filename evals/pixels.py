"""Pixels as features: for teachers whose distribution is known in closed form."""

from torch import Tensor

from bench.plugin import FeatureExtractor, from_uint8


class Pixels(FeatureExtractor):
    """The pixel values themselves, in [-1, 1]; no weights."""

    image_spec = None
    features = ("pool",)

    def __call__(self, images: Tensor) -> dict[str, Tensor]:
        return {"pool": from_uint8(images).flatten(1)}

    def digest(self) -> str:
        return "none"
