"""Published statistics of real images: EDM's, OpenAI's and clean-fid's."""

from bench.plugin import Asset, PublishedStatistics

_EDM = "https://nvlabs-fi-cdn.nvidia.com/edm/fid-refs"
_CLEAN = "https://www.cs.cmu.edu/~clean-fid/stats"


def edm(file: str, dataset: str, images: int) -> PublishedStatistics:
    """Return mean and covariance of a whole training set, by EDM's own tool."""
    licence = "CC BY-NC-SA 4.0 (NVIDIA): not for commercial use"
    asset = Asset(
        f"fid-ref-{file.removesuffix('.npz')}", file, f"{_EDM}/{file}", licence, "NVlabs/edm README"
    )
    return PublishedStatistics(asset, dataset, "train", images, "NVlabs/edm fid.py ref", "inception")


def clean_fid(
    dataset: str, mode: str, split: str, images: int, extractor: str, kind: str = "moments"
) -> PublishedStatistics:
    """Return mean and covariance by clean-fid, or with ``bank`` the features themselves."""
    file = f"{dataset}_{mode}_{split}_32{'_kid' if kind == 'bank' else ''}.npz"
    source = "GaParmar/clean-fid README, and cleanfid.features.get_reference_statistics"
    asset = Asset(
        f"clean-fid-{file.removesuffix('.npz')}", file, f"{_CLEAN}/{file}", "MIT (clean-fid)", source
    )
    return PublishedStatistics(asset, dataset, split, images, f"clean-fid {mode}", extractor, kind)


EDM = {
    "cifar10": (edm("cifar10-32x32.npz", "cifar10", 50_000),),
    "ffhq64": (edm("ffhq-64x64.npz", "ffhq64", 70_000),),
    "afhqv2-64": (edm("afhqv2-64x64.npz", "afhqv2-64", 15_803),),
    "imagenet64": (edm("imagenet-64x64.npz", "imagenet64", 1_281_167),),
}
"""References for the FID of EDM and of its students."""

OPENAI_IMAGENET64 = PublishedStatistics(
    Asset(
        "openai-ref-imagenet64",
        "VIRTUAL_imagenet64_labeled.npz",
        "https://openaipublic.blob.core.windows.net/diffusion/jul-2021/ref_batches/imagenet/64/VIRTUAL_imagenet64_labeled.npz",
        "MIT (guided-diffusion repository)",
        "openai/guided-diffusion evaluations/README",
    ),
    "imagenet64",
    "train",
    10_000,
    "openai/guided-diffusion",
    "inception",
    "bank",
)
"""References for precision and recall, and for older models; not for the FID of EDM and its students."""

SID = EDM | {"imagenet64": (*EDM["imagenet64"], OPENAI_IMAGENET64)}
"""EDM's references, with the images for SiD's precision and recall on ImageNet."""

CLEAN = {
    "cifar10": (
        clean_fid("cifar10", "clean", "train", 50_000, "clean"),
        clean_fid("cifar10", "clean", "train", 50_000, "clean", "bank"),
    )
}
LEGACY_PT = {"cifar10": (clean_fid("cifar10", "legacy_pytorch", "train", 50_000, "legacy-pt"),)}
