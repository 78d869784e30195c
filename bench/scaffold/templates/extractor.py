"""new-extractor: a working example of a feature extractor, with a protocol that uses it, to be made into your
own.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from bench.plugin import FeatureExtractor, Protocol, from_uint8, register_extractor, register_protocol


@register_extractor("new-extractor")
class NewExtractor(FeatureExtractor):
    """Means of the image over a grid of 4x4 places, and their deviation (an example to begin from)."""

    image_spec = None  # the only size that it takes, such as ImageSpec(3, 32), or None for any
    features = ("pool",)  # what it computes: "pool" for distances, "logits" for the inception score

    # One with a network reads its weights in __init__(self, path=None), by read_weights and load_weights, and
    # calls .eval().requires_grad_(False) on it.

    def __call__(self, images: Tensor) -> dict[str, Tensor]:
        """Features (N, d) in float32 of uint8 images (N, C, H, W)."""
        x = from_uint8(images)  # in [-1, 1]
        places = F.adaptive_avg_pool2d(x, 4)
        return {"pool": torch.cat([places.flatten(1), x.flatten(2).std(2)], dim=1)}

    def digest(self) -> str:
        """The digest of its weights, which goes into every record: `tensors_digest(network.state_dict())`."""
        return "none"


# A protocol says what a number means; its id is its family and number of images, `new-extractor-1k`.
PROTOCOL = Protocol(
    family="new-extractor", samples=1000, extractors=("new-extractor",), metrics=("fid",)
)
register_protocol(PROTOCOL)
