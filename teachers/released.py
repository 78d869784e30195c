"""One-step generators that their authors released, as data. Each has the network of its teacher with other weights.

SiD: Zhou et al., ICML 2024; files and digests from the README and the Hugging Face page UT-Austin-PML/SiD. SiDA and SiD2A: Zhou
et al., ICLR 2025; from the README of branch sida of mingyuanzhou/SiD. DMD2: Yin et al., NeurIPS 2024; from
experiments/imagenet/README.md of tianweiy/DMD2. The digits that end a file name of SiD and SiDA are thousands of training images.
"""

from __future__ import annotations

from bench.plugin import Asset, Released, ReportedFID

_APACHE = "Apache-2.0 by its model page, derived from a CC BY-NC-SA 4.0 teacher: treat it as not for commercial use"
_NONCOMMERCIAL = "CC BY-NC-SA 4.0: not for commercial use"


def _sid(name: str, teacher: str, place: str, sha256: str | None, fid: float | None = None) -> Released:
    """A generator of SiD, called at noise level 2.5."""
    source = "README of mingyuanzhou/SiD and model page UT-Austin-PML/SiD"
    file = place.rpartition("/")[2]
    asset = Asset(name, file, f"https://huggingface.co/UT-Austin-PML/SiD/resolve/main/{place}", _APACHE, source, sha256)
    return Released(teacher, "sid", asset, (2.5,), ReportedFID(fid, 1, source) if fid else None)


def _sida(teacher: str, file: str) -> Released:
    """A generator of SiDA or SiD2A, called at noise level 2.5."""
    url = f"https://huggingface.co/UT-Austin-PML/SiDA/resolve/main/EDM_distillation/{file}"
    asset = Asset(file.removesuffix(".pkl"), file, url, _APACHE, "README of branch sida of mingyuanzhou/SiD")
    return Released(teacher, "sid2a" if "sid2a" in file else "sida", asset, (2.5,))


def _dmd2(name: str, folder: str, fid: float) -> Released:
    """A generator of DMD2, called at noise level 80: a plain state dict of the ADM network."""
    url = f"https://huggingface.co/tianweiy/DMD2/resolve/main/model/imagenet/{folder}/pytorch_model.bin"
    source = "experiments/imagenet/README.md of tianweiy/DMD2"
    asset = Asset(name, "pytorch_model.bin", url, _NONCOMMERCIAL, source)
    return Released("edm-imagenet64", "dmd2", asset, (80.0,), ReportedFID(fid, 1, source))


SID_CIFAR10_ALPHA1_2 = _sid(
    "sid-cifar10-alpha1.2",
    "edm-cifar10",
    "cifar10-uncond/alpha1.2/network-snapshot-1.200000-403968.pkl",
    "13cb3be19dd92c67f423db24839919c92b23179d8bce9c9a7badd508f99ff15b",
    1.923,
)
"""SiD, alpha 1.2, CIFAR-10, unconditional; FID 1.923 as published."""

SID_CIFAR10_ALPHA1_0 = _sid(
    "sid-cifar10-alpha1.0",
    "edm-cifar10",
    "cifar10-uncond/alpha1/network-snapshot-1.000000-416768.pkl",
    "9415754179d74f9bae81eaabb18fa7db75443f408bd88a34e1972dc0fac39ae5",
)
"""SiD, alpha 1.0, CIFAR-10, unconditional."""

SID_CIFAR10_COND_ALPHA1_2 = _sid(
    "sid-cifar10-cond-alpha1.2",
    "edm-cifar10-cond",
    "cifar10-cond/alpha1.2/network-snapshot-1.200000-713312.pkl",
    "75668815b0426f51cfb81657b502f528ee9e2de4a91f3c68bc60fa7303a1f1d7",
    1.710,
)
"""SiD, alpha 1.2, CIFAR-10, by class; FID 1.710 as published."""

SID_IMAGENET64_ALPHA1_2 = _sid(
    "sid-imagenet64-alpha1.2", "edm-imagenet64", "imagenet64/alpha1.2/network-snapshot-1.200000-939176.pkl", None, 1.524
)
"""SiD, alpha 1.2, ImageNet 64x64; FID 1.524 as published."""

SID_IMAGENET64_ALPHA1_0 = _sid(
    "sid-imagenet64-alpha1.0",
    "edm-imagenet64",
    "imagenet64/alpha1/network-snapshot-1.000000-492836.pkl",
    "75055ac5669e2884cf325440d26499cfb4d9f0f8b9e408aeb2f956b56c8ca446",
)
"""SiD, alpha 1.0, ImageNet 64x64."""

SID_FFHQ64_ALPHA1_2 = _sid(
    "sid-ffhq64-alpha1.2",
    "edm-ffhq64",
    "ffhq64/alpha1.2/network-snapshot-1.200000-498176.pkl",
    "224377a340ca62ba88511c718366e58fd3bae4d412b10bce69f19b6a3320bac8",
    1.550,
)
"""SiD, alpha 1.2, FFHQ 64x64; FID 1.550 as published."""

SID_FFHQ64_ALPHA1_0 = _sid(
    "sid-ffhq64-alpha1.0",
    "edm-ffhq64",
    "ffhq64/alpha1/network-snapshot-1.000000-453120.pkl",
    "9a3dba47976e0496d74dc1eb0ad5b45b64499827a1ac418f73697d76e160b4a1",
)
"""SiD, alpha 1.0, FFHQ 64x64."""

SID_AFHQV2_ALPHA1_0 = _sid("sid-afhqv2-alpha1.0", "edm-afhqv2", "afhq64/alpha1/network-snapshot-1.000000-371712.pkl", None, 1.628)
"""SiD, alpha 1.0, AFHQv2 64x64; FID 1.628 as published."""

SID_AFHQV2_ALPHA1_2 = _sid("sid-afhqv2-alpha1.2", "edm-afhqv2", "afhq64/alpha1.2/network-snapshot-1.200000-305664.pkl", None)
"""SiD, alpha 1.2, AFHQv2 64x64."""

SIDA_CIFAR10_ALPHA1_0 = _sida("edm-cifar10", "cifar10_uncond_sida_alpha1-217920.pkl")
"""SiDA, alpha 1.0, CIFAR-10, unconditional."""

SID2A_CIFAR10_ALPHA1_0 = _sida("edm-cifar10", "cifar10_uncond_sid2a_alpha1-028160.pkl")
"""SiD2A, alpha 1.0, CIFAR-10, unconditional."""

SID2A_CIFAR10_ALPHA1_2 = _sida("edm-cifar10", "cifar10_uncond_sid2a_alpha1.2-022528.pkl")
"""SiD2A, alpha 1.2, CIFAR-10, unconditional."""

SIDA_CIFAR10_COND_ALPHA1_0 = _sida("edm-cifar10-cond", "cifar10_cond_sida_alpha1-293184.pkl")
"""SiDA, alpha 1.0, CIFAR-10, by class."""

SID2A_CIFAR10_COND_ALPHA1_0 = _sida("edm-cifar10-cond", "cifar10_cond_sid2a_alpha1-038912.pkl")
"""SiD2A, alpha 1.0, CIFAR-10, by class."""

SID2A_CIFAR10_COND_ALPHA1_2 = _sida("edm-cifar10-cond", "cifar10_cond_sid2a_alpha1.2-053760.pkl")
"""SiD2A, alpha 1.2, CIFAR-10, by class."""

SIDA_IMAGENET64_ALPHA1_0 = _sida("edm-imagenet64", "imgnet64_sida_alpha1-249167.pkl")
"""SiDA, alpha 1.0, ImageNet 64x64."""

SID2A_IMAGENET64_ALPHA1_0 = _sida("edm-imagenet64", "imgnet64_sid2a_alpha1-029499.pkl")
"""SiD2A, alpha 1.0, ImageNet 64x64."""

SID2A_IMAGENET64_ALPHA1_2 = _sida("edm-imagenet64", "imgnet64_sid2a_alpha1.2-021471.pkl")
"""SiD2A, alpha 1.2, ImageNet 64x64."""

SIDA_FFHQ64_ALPHA1_0 = _sida("edm-ffhq64", "ffhq64_sida_alpha1-185856.pkl")
"""SiDA, alpha 1.0, FFHQ 64x64."""

SID2A_FFHQ64_ALPHA1_0 = _sida("edm-ffhq64", "ffhq64_sid2a_alpha1-168960.pkl")
"""SiD2A, alpha 1.0, FFHQ 64x64."""

SID2A_FFHQ64_ALPHA1_2 = _sida("edm-ffhq64", "ffhq64_sid2a_alpha1.2-080896.pkl")
"""SiD2A, alpha 1.2, FFHQ 64x64."""

SIDA_AFHQV2_ALPHA1_0 = _sida("edm-afhqv2", "afhq64-v2_sida_alpha1-127488.pkl")
"""SiDA, alpha 1.0, AFHQv2 64x64."""

SID2A_AFHQV2_ALPHA1_0 = _sida("edm-afhqv2", "afhq64-v2_sid2a_alpha1-175104.pkl")
"""SiD2A, alpha 1.0, AFHQv2 64x64."""

SID2A_AFHQV2_ALPHA1_2 = _sida("edm-afhqv2", "afhq64-v2_sid2a_alpha1.2-175104.pkl")
"""SiD2A, alpha 1.2, AFHQv2 64x64."""

DMD2_IMAGENET64_FID1_51 = _dmd2(
    "dmd2-imagenet64-fid1.51",
    "imagenet_gan_classifier_genloss3e-3_diffusion1000_lr2e-6_scratch_fid1.51_checkpoint_model_193500",
    1.51,
)
"""DMD2, ImageNet 64x64; FID 1.51 as published."""

DMD2_IMAGENET64_FID2_61 = _dmd2("dmd2-imagenet64-fid2.61", "imagenet_lr2e-6_scratch_fid2.61_checkpoint_model_405500", 2.61)
"""DMD2, ImageNet 64x64; FID 2.61 as published."""

DMD2_IMAGENET64_FID1_28 = _dmd2(
    "dmd2-imagenet64-fid1.28",
    "imagenet_gan_classifier_genloss3e-3_diffusion1000_lr5e-7_resume_fid1.28_checkpoint_model_548000",
    1.28,
)
"""DMD2, ImageNet 64x64; FID 1.28 as published."""
