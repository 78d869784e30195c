"""The protocols of the papers and of the embedded teachers, and published statistics of real images."""

from pathlib import Path

from bench.plugin import Asset, Protocol, PublishedStatistics


def edm(file: str, dataset: str, images: int) -> PublishedStatistics:
    """Return mean and covariance of a whole training set, by EDM's own tool."""
    asset = Asset(
        f"fid-ref-{file.removesuffix('.npz')}",
        file,
        f"https://nvlabs-fi-cdn.nvidia.com/edm/fid-refs/{file}",
        "CC BY-NC-SA 4.0 (NVIDIA): not for commercial use",
        "NVlabs/edm README",
    )
    return PublishedStatistics(asset, dataset, "train", images, "NVlabs/edm fid.py ref", "inception")


def clean_fid(
    dataset: str, mode: str, split: str, images: int, extractor: str, kind: str = "moments"
) -> PublishedStatistics:
    """Return mean and covariance by clean-fid, or with ``bank`` the features themselves."""
    file = f"{dataset}_{mode}_{split}_32{'_kid' if kind == 'bank' else ''}.npz"
    asset = Asset(
        f"clean-fid-{file.removesuffix('.npz')}",
        file,
        f"https://www.cs.cmu.edu/~clean-fid/stats/{file}",
        "MIT (clean-fid)",
        "GaParmar/clean-fid README, and cleanfid.features.get_reference_statistics",
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

EDM_50K = Protocol(
    family="edm",
    samples=50_000,
    extractors=("inception", "dinov2"),
    metrics=("fid", "is"),
    repeats=3,
    selection="min",
    references=EDM,
)
"""EDM's and most papers': TensorFlow's Inception and resize; tables have the smallest of three FIDs."""

SID_50K = Protocol(
    family="sid",
    samples=50_000,
    extractors=("inception",),
    metrics=("fid", "is", "precision", "recall"),
    repeats=10,
    parameters={"is": {"permutation": None}},
    references=SID,
)
"""SiD's sid_metrics: as edm-50k, but the mean of ten, IS in the images' order, precision and recall."""

CLEAN_50K = Protocol(
    family="clean",
    samples=50_000,
    extractors=("clean", "dinov2"),
    metrics=("fid", "kid"),
    repeats=3,
    references=CLEAN,
)
"""clean-fid's: the same Inception after an antialiased bicubic resize; not comparable with edm-50k."""

LEGACY_PT_50K = Protocol(
    family="legacy-pt",
    samples=50_000,
    extractors=("legacy-pt",),
    metrics=("fid",),
    repeats=3,
    references=LEGACY_PT,
)
"""pytorch-fid's: the same Inception after another bilinear resize; for papers that used it."""

SMOKE_2K = Protocol(
    family="smoke",
    samples=2_000,
    extractors=("inception", "dinov2"),
    metrics=("fid", "is"),
    references=EDM,
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

FASHION_10K = Protocol(
    family="fashion",
    samples=10_000,
    extractors=("fashion",),
    metrics=("fid", "fid-test", "is"),
    repeats=4,
    references={"fashion-mnist": (Path(__file__).with_name("fashion_reference.safetensors"),)},
)
"""10,000 images in the features of a classifier of clothes, against Fashion-MNIST's training set."""

PIXELS_5K = Protocol(family="pixels", samples=5000, extractors=("pixels",), metrics=("fid",), repeats=4)
"""5,000 images by mean and covariance of their pixels, for teachers of a known distribution."""
