"""Features of TensorFlow's Inception-v3 of 2015-12-05, after three kinds of resize and scaling.

Szegedy et al., "Rethinking the Inception Architecture" (arXiv 1512.00567). FID uses its features
(Heusel et al. 2017, arXiv 1706.08500), and the inception score its logits (Salimans et al. 2016,
arXiv 1606.03498).
"""

import tempfile
import warnings
from collections import OrderedDict
from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from bench.plugin import (
    Asset,
    FeatureExtractor,
    Features,
    UsageError,
    fetch,
    load_weights,
    read_weights,
    sha256,
)
from evals import resize
from evals.resize import Kernel

WEIGHTS = Asset(
    "inception-2015-12-05",
    "pt_inception-2015-12-05-6726825d.pth",
    "https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/pt_inception-2015-12-05-6726825d.pth",
    "Apache-2.0",
    "mseitzer/pytorch-fid src/pytorch_fid/inception.py; torch-fidelity publishes the same",
    sha256="6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2",
    note="96 MB",
)
AT_ONCE = {"cpu": 8, "cuda": 125}
"""Number of images that always pass the network together: the last bits depend on it."""


class Inception(FeatureExtractor):
    """Inception-v3 as torch-fidelity and EDM use it: TensorFlow's resize, and pixels as
    ``(x - 128) / 128``.

    One forward pass gives the 2048 means of the last feature map, and the 1008 logits without their
    bias, which the inception score needs. Images may have any size; grey ones are repeated to three
    channels, as by EDM's dataset tool.
    """

    image_spec = None
    channels = (1, 3)
    features = ("pool", "logits")
    large = True
    assets = (WEIGHTS,)
    kernel: Kernel = staticmethod(resize.tensorflow)
    factor: ClassVar[float] = 1 / 128
    """Pixels x in [0, 255] enter the network as ``factor * x - 1``."""

    def __init__(self, path: Path | None = None) -> None:
        self.path = path or fetch(WEIGHTS)
        network = fold(load_network(self.path))
        self.body = network[:-1].to(memory_format=torch.channels_last)
        self.network: Callable[[Tensor], Tensor] = self.body
        self.head = network.get_parameter("fc.weight").clone()  # no view of the file
        self.sha256 = sha256(self.path)

    def __call__(self, images: Tensor) -> dict[str, Tensor]:
        require_images(images, "Inception")
        n, at_once = len(images), AT_ONCE[images.device.type]
        # The last part is filled up with the first images, so that all parts have one size.
        full = torch.arange(-(-n // at_once) * at_once, device=images.device) % n
        pools = [self.network(self._inputs(part)).float() for part in images[full].split(at_once)]
        return {
            "pool": torch.cat(pools)[:n],
            "logits": torch.cat([pool @ self.head.T for pool in pools])[:n],
        }

    def _inputs(self, images: Tensor) -> Tensor:
        """Map uint8 images to the network's inputs, (N, 3, 299, 299) in [-1, 1]."""
        pixels = resize.resize(images, self.kernel).mul_(self.factor).sub_(1)
        return rgb(pixels).to(next(self.body.parameters()).dtype, memory_format=torch.channels_last)

    def digest(self) -> str:
        return self.sha256

    def use_fast(self) -> None:
        """Compute the network in float16 on a GPU, compiled; resize and logits stay exact.

        On a CPU nothing changes, where 16 bits were measured several times slower.
        """
        if next(self.body.parameters()).is_cuda:
            body = self.body.half()
            # Of a function of our own every torch makes one graph, of nn.Sequential not.
            self.network = torch.compile(lambda inputs: body(inputs))

    def by_others(self) -> Mapping[str, Callable[[Tensor], Features]]:
        """Return torch-fidelity's resize, scaling and network, with these weights."""
        return {"torch-fidelity": self._by_torch_fidelity}

    def _by_torch_fidelity(self, images: Tensor) -> dict[str, Tensor]:
        pool, logits = self._torch_fidelity.to(images.device)(rgb(images))
        return {"pool": pool, "logits": logits}

    @cached_property
    def _torch_fidelity(self) -> Any:
        from torch_fidelity.utils import create_feature_extractor  # here: brings torchvision, 1.7 s

        with tempfile.NamedTemporaryFile(suffix=".pth") as file:  # it unpickles its file
            torch.save(read_weights(self.path), file)
            file.flush()
            return create_feature_extractor(
                "inception-v3-compat",
                ["2048", "logits_unbiased"],
                cuda=False,
                feature_extractor_weights_path=file.name,
                verbose=False,
            )


class CleanInception(Inception):
    """The same network as clean-fid uses it: PIL's antialiased bicubic resize.

    Pixels enter as ``(x - 128) / 128``. Parmar et al., "On Aliased Resizing and Surprising
    Subtleties in GAN Evaluation" (CVPR 2022, arXiv 2104.11222).
    """

    kernel = staticmethod(resize.clean)
    resizer: ClassVar[str] = "clean"
    """Name of the resize in clean-fid."""

    def by_others(self) -> Mapping[str, Callable[[Tensor], Features]]:
        """Return clean-fid's resize followed by torch-fidelity's layers, not folded, with these weights.

        clean-fid itself has the same weights as TorchScript, which would run code when it is
        loaded.
        """
        return {"clean-fid": self._by_clean_fid}

    def _by_clean_fid(self, images: Tensor) -> dict[str, Tensor]:
        resized = [
            torch.from_numpy(self._resizer(image.permute(1, 2, 0).cpu().numpy()))
            for image in rgb(images)
        ]
        network = self._unfolded.to(images.device)
        pool = network[:-1](torch.stack(resized).permute(0, 3, 1, 2).to(images.device) * self.factor - 1)
        return {"pool": pool, "logits": pool @ network.get_parameter("fc.weight").T}

    @cached_property
    def _resizer(self) -> Callable[[Any], Any]:
        from cleanfid.resize import build_resizer  # here: brings torchvision, 1.7 s

        with warnings.catch_warnings():  # it would switch all warnings off
            return build_resizer(self.resizer)

    @cached_property
    def _unfolded(self) -> nn.Sequential:
        return load_network(self.path)


class LegacyInception(CleanInception):
    """The same network as pytorch-fid uses it: torch's bilinear resize, pixels as ``2 x / 255 - 1``."""

    kernel = staticmethod(resize.half_pixel)
    factor = 2 / 255
    resizer = "legacy_pytorch"


def load_network(path: Path) -> nn.Sequential:
    """Load Inception-v3 with the weights of a file.

    Raises UsageError for a file that cannot be read or is of another network.
    """
    with torch.device("meta"):  # so that the network takes the file's own tensors
        network = inception_v3()
    tensors = read_weights(path)
    for name in network.state_dict():
        if name.endswith("num_batches_tracked"):  # has no effect, and is absent from some files
            tensors.setdefault(name, torch.tensor(0))
    load_weights(network, tensors, f"the weights file {str(path)!r}")
    return network.eval().requires_grad_(False)


def inception_v3() -> nn.Sequential:
    """Build Inception-v3 from torch-fidelity's layers: from (N, 3, 299, 299) to logits (N, 1008).

    Layers have the names of the published file.
    """
    from torch_fidelity import feature_extractor_inceptionv3 as layers  # here: brings torchvision, 1.7 s

    return nn.Sequential(
        OrderedDict(
            Conv2d_1a_3x3=layers.BasicConv2d(3, 32, kernel_size=3, stride=2),
            Conv2d_2a_3x3=layers.BasicConv2d(32, 32, kernel_size=3),
            Conv2d_2b_3x3=layers.BasicConv2d(32, 64, kernel_size=3, padding=1),
            MaxPool_1=nn.MaxPool2d(3, stride=2),
            Conv2d_3b_1x1=layers.BasicConv2d(64, 80, kernel_size=1),
            Conv2d_4a_3x3=layers.BasicConv2d(80, 192, kernel_size=3),
            MaxPool_2=nn.MaxPool2d(3, stride=2),
            Mixed_5b=layers.InceptionA(192, pool_features=32),
            Mixed_5c=layers.InceptionA(256, pool_features=64),
            Mixed_5d=layers.InceptionA(288, pool_features=64),
            Mixed_6a=layers.InceptionB(288),
            Mixed_6b=layers.InceptionC(768, channels_7x7=128),
            Mixed_6c=layers.InceptionC(768, channels_7x7=160),
            Mixed_6d=layers.InceptionC(768, channels_7x7=160),
            Mixed_6e=layers.InceptionC(768, channels_7x7=192),
            Mixed_7a=layers.InceptionD(768),
            Mixed_7b=layers.InceptionE_1(1280),
            Mixed_7c=layers.InceptionE_2(2048),
            AvgPool=nn.AdaptiveAvgPool2d(1),
            Flatten=nn.Flatten(),
            fc=nn.Linear(2048, 1008),
        )
    )


def fold(network: nn.Sequential) -> nn.Sequential:
    """Fold every batch norm into the convolution before it: the same function in fewer passes."""
    for layer in list(network.modules()):
        conv, norm = getattr(layer, "conv", None), getattr(layer, "bn", None)
        if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
            layer.conv, layer.bn = fuse_conv_bn_eval(conv, norm), nn.Identity()
    return network


def rgb(images: Tensor) -> Tensor:
    """Repeat the channel of grey images (N, 1, H, W) three times; return others as they are."""
    return images.expand(-1, 3, -1, -1)


def require_images(images: Tensor, whose: str) -> None:
    """Raise UsageError for anything but uint8 images (N, 1 or 3, H, W) for the network of that name."""
    if (
        images.dtype != torch.uint8
        or images.ndim != 4
        or images.shape[1] not in (1, 3)
        or 0 in images.shape[2:]
    ):
        shape = f"{str(images.dtype).removeprefix('torch.')} {tuple(images.shape)}"
        raise UsageError(
            f"{whose} takes uint8 images (N, 1 or 3, height, width), given {shape}; convert them first."
        )
