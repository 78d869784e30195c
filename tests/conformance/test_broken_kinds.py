"""Teachers, metrics, extractors and data sets that are broken on purpose, each in one place."""

from __future__ import annotations

import re

import pytest

from bench.conformance.examination import examination
from bench.scaffold.scaffold import new_plugin
from tests.helpers.plugins import plugin

RETURN = "return (data * x + noise * self.mean) / (data + noise)"
CONDITIONAL = (
    "ImageSpec(channels=1, resolution=8)",
    "ImageSpec(channels=1, resolution=8, label_dim=10)",
)
CALL = 'return {"pool": torch.cat([places.flatten(1), x.flatten(2).std(2)], dim=1)}'
VALUE = "return gap.square().mean().sqrt().item()"
READ = "super().__init__(images[:, None].to(torch.uint8), classes)"
BROKEN = {
    "teacher: predicts the noise": (
        (RETURN, RETURN.replace("return", "return x -")),
        "clean-images-come-back",
        "at the lowest level, 0.002, its images differ by .* from the clean ones",
    ),
    "teacher: forgets labels": (
        CONDITIONAL,
        "labels-matter-where-there-are-classes",
        "its images are the same for all classes; pass the one-hot labels on",
    ),
    "teacher: of another shape": (
        (RETURN, RETURN.replace("return ", "return (") + ").flatten(1)"),
        "denoiser-takes-a-level-for-all-or-for-each",
        r"the denoiser of the teacher 'broken' returns is a tensor of shape \(32, 64\), expected .*\(32, 1, 8, 8\)",
    ),
    "teacher: makes images from 0 to 255": (
        ("x = from_uint8(images)", "x = images.float()"),
        "pure-noise-becomes-the-mean",
        r"at the highest level, 80, its images scatter by .* expected the data's mean in \[-1, 1\]",
    ),
    "teacher: NaN at large sigma": (
        (RETURN, RETURN.replace("return ", "return torch.where(noise > 4900, torch.nan, 1.0) * ")),
        "pure-noise-becomes-the-mean",
        "at the highest noise level it returns values that are not finite",
    ),
    "teacher: mixes the images of a batch": (
        (RETURN, RETURN + " + 0.1 * x.roll(1, 0) / (1 + noise)"),
        "denoiser-sees-each-image-alone",
        "an image's denoised image depends on its place in the batch",
    ),
    "teacher: is not differentiable": (
        (RETURN, RETURN.replace("data * x", "data * x.detach()")),
        "denoiser-is-finite-over-its-levels",
        "element 0 of tensors does not require grad|have no derivative",
    ),
    "teacher: loads other weights each time": (
        ('x.mean(0), "log_std"', 'x.mean(0) + 1e-3 * torch.randn(1, 8, 8), "log_std"'),
        "loads-the-same-each-time",
        "it has other weights when it is loaded again",
    ),
    "metric: has the wrong direction": (
        ('direction = "lower"', 'direction = "higher"'),
        "corruption-makes-it-worse",
        "which is better and better; look at direction, now 'higher'",
    ),
    "metric: returns several numbers": (
        (VALUE, "return gap"),
        "gives-a-finite-number",
        r"what the metric 'broken' returns is a tensor of shape \(16,\), expected one number",
    ),
    "metric: is constant": (
        (VALUE, "return 1.0"),
        "corruption-makes-it-worse",
        "it has the same value, 1, however far",
    ),
    "metric: is not deterministic": (
        (VALUE, "import os; return gap.square().mean().sqrt().item() + os.urandom(1)[0] / 1e4"),
        "value-is-the-same-each-time",
        "the same images have .* and then",
    ),
    "metric: weights images by their place": (
        ("statistics = Moments", "statistics = FeatureBank"),
        "order-of-images-does-not-matter",
        "the same images in other orders have from .*; weight no image by its place",
    ),
    "extractor: normalises by the batch": (
        (CALL, CALL.replace("dim=1)}", "dim=1) - x.mean()}")),
        "each-image-has-its-own-features",
        "its feature 'pool' of an image depends on the other images of the batch",
    ),
    "extractor: does not compute what it declares": (
        ('features = ("pool",)', 'features = ("pool", "logits")'),
        "features-are-as-declared",
        "the feature 'logits' that the extractor 'broken' returns is a NoneType, expected",
    ),
    "extractor: writes to its images": (
        ("x = from_uint8(images)", "images[0] = 3; x = from_uint8(images)"),
        "images-are-left-as-they-were",
        "it writes to the images that it is given",
    ),
    "extractor: is not deterministic": (
        (CALL, CALL.replace("dim=1)}", "dim=1) + torch.rand(1)}")),
        "features-are-the-same-each-time",
        "of the same images differs from one time to another",
    ),
    "dataset: images from 0 to 1": (
        (READ, READ.replace("images[:, None]", "(images[:, None] / 200)")),
        "images-use-their-range",
        "the largest value of its images is 1, expected up to 255",
    ),
    "dataset: images are floats": (
        (READ, READ.replace("torch.uint8", "torch.float32")),
        "opens-and-has-images",
        "data set Broken returns as images is of torch.float32, expected torch.uint8",
    ),
    "dataset: labels out of range": (
        (READ, READ.replace("classes)", "classes - 1)")),
        "labels-are-in-range",
        "its labels go from -1 to 0, with label_dim 1",
    ),
    "dataset: another order each time": (
        (READ, READ.replace("images[:, None]", "images[torch.randperm(COUNT)][:, None]")),
        "order-is-the-same-each-time",
        "when the data set is opened again; sort the files by name",
    ),
}


@pytest.mark.parametrize("fault", BROKEN)
def test_a_fault_is_named_with_its_reason_and_remedy(tmp_path, fault):
    (old, new), check, complaint = BROKEN[fault]
    kind = fault.partition(":")[0]
    text = new_plugin(kind, "broken")
    assert old in text
    file = plugin(tmp_path, text.replace(old, new, 1))
    findings = {f.check: f for f in examination(kind, "broken", plugins=[file])}
    assert findings[check].outcome in ("failed", "warning"), findings
    assert re.search(complaint, findings[check].sentence), findings[check].sentence
