"""The shipped digits teacher."""

from __future__ import annotations

import pytest
import torch

from bench.errors import UsageError
from bench.files.tensors import load_tensors, save_tensors
from bench.plugin import from_uint8, open_dataset
from bench.plugin.diffusion import EDMPrecond, denoising_loss
from teachers.digits import EDMDigits


def test_the_weights_are_small_described_and_those_that_were_trained():
    _tensors, meta = load_tensors(EDMDigits.shipped)
    assert EDMDigits.shipped.stat().st_size < 1_000_000
    assert meta["made_by"] == "bench train edm-digits"
    assert meta["images"] == EDMDigits.training_images
    assert meta["tensors_sha256"] == EDMDigits().digest()


def test_the_denoiser_denoises():
    """Its loss on the data is far below that of the best constant, 1 a pixel at initialisation."""
    teacher = EDMDigits()
    images, _ = next(open_dataset("digits").batches(2000))
    torch.manual_seed(0)
    loss = denoising_loss(teacher.denoiser, from_uint8(images), teacher.noise).mean().item() / 64
    untrained = denoising_loss(EDMDigits.network(), from_uint8(images), teacher.noise).mean().item() / 64
    assert loss < 0.6
    assert untrained > 0.9


def test_preconditioning_has_edms_coefficients():
    """With F = 0 the denoiser is c_skip y; with F = 1 it adds c_out; F sees c_in y and ln(sigma) / 4."""
    seen = {}

    class Constant(torch.nn.Module):
        def forward(self, x, c_noise, labels, augment_labels):
            seen.update(x=x, c_noise=c_noise)
            return torch.ones_like(x)

    y, sigma, data = (
        torch.randn(5, 1, 2, 2, dtype=torch.float64),
        torch.rand(5, dtype=torch.float64) * 3 + 0.01,
        0.5,
    )
    out = EDMPrecond(Constant(), data)(y, sigma)
    s = sigma[:, None, None, None]
    torch.testing.assert_close(out, data**2 / (s**2 + data**2) * y + s * data / (s**2 + data**2).sqrt())
    torch.testing.assert_close(seen["x"], y / (s**2 + data**2).sqrt())
    torch.testing.assert_close(seen["c_noise"], sigma.log() / 4)


@pytest.mark.parametrize("damage", ["missing", "shape", "nan", "extra", "text"])
def test_weights_that_do_not_fit_are_refused_in_a_sentence(tmp_path, damage):
    tensors, _ = load_tensors(EDMDigits.shipped)
    file = tmp_path / "weights.safetensors"
    match damage:
        case "missing":
            tensors.pop("model.first.weight")
        case "shape":
            tensors["model.first.weight"] = torch.zeros(3, 3)
        case "nan":
            tensors["model.first.bias"][0] = torch.nan
        case "extra":
            tensors["other"] = torch.zeros(1)
    if damage == "text":
        file.write_text("not weights")
    else:
        save_tensors(file, tensors, {})
    expected = {
        "missing": "lacks model.first.weight",
        "shape": r"model.first.weight \(float32 \(3, 3\), expected float32 \(128, 64\)\)",
        "nan": "NaN or infinite values in 'model.first.bias'",
        "extra": "has too much other",
        "text": "is neither a state dict of torch",
    }
    with pytest.raises(UsageError, match=expected[damage]):
        EDMDigits(file)


def test_weights_of_the_digits_may_come_from_torch(tmp_path):
    teacher = EDMDigits()
    torch.save({f"module.{n}": t for n, t in teacher.denoiser.state_dict().items()}, tmp_path / "w.pt")
    assert EDMDigits(tmp_path / "w.pt").digest() == teacher.digest()
