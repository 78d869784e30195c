"""Teachers, metrics, extractors and data sets that are broken on purpose, each in one place."""

from __future__ import annotations

import re

import pytest

from bench.conformance.examination import KINDS, examination
from bench.conformance.finding import name_of
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
BROKEN: dict[
    str, tuple
] = {  # what is replaced, the check, its words, and "warning" where it does not fail
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
    "teacher: has a number for a sampler": (
        ("sampler = Sampler(steps=18)", "sampler = 18"),
        "loads-with-its-facts",
        "its sampler is a int, expected Sampler; set sampler on the class",
    ),
    "teacher: jumps from level to level": (
        (RETURN, RETURN + " + torch.sin(300 * noise.log())"),
        "sampler-converges",
        "from 8 to 16 Heun steps its images move by .*; look at the noise levels",
    ),
    "teacher: makes images from 0 to 1": (
        ("x = from_uint8(images)", "x = (from_uint8(images) + 1) / 2"),
        "samples-are-like-its-data-set",
        "mean and deviation of its images are .*, those of 'digits' .*; look at the range",
        "warning",
    ),
    "teacher: shares its weights with a copy": (
        (
            "    def forward(\n",
            "    def __deepcopy__(self, memo):\n        return self\n\n    def forward(\n",
        ),
        "copies-are-trainable-and-its-own-weights-stay",
        "what is trained of a copy changes the teacher; share no tensor",
    ),
    "metric: has the wrong direction": (
        ('direction = "lower"', 'direction = "higher"'),
        "corruption-makes-it-worse",
        "which is better and better; look at direction, now 'higher'",
        "warning",
    ),
    "metric: is best at a distance": (
        (VALUE, "return abs(gap.square().mean().sqrt().item() - 0.7)"),
        "reference-itself-has-the-best-value",
        "the reference against itself has 0.7, and others .*; look at direction",
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
        (
            "    statistics = Moments\n",
            "    class statistics(Moments):\n        def update(self, features, first):\n            import torch\n"
            "            place = torch.arange(first, first + len(features))[:, None]\n"
            "            super().update(features * (1 + place / 1e3), first)\n\n",
        ),
        "order-of-images-does-not-matter",
        "the same images in other orders have from .*; weight no image by its place",
    ),
    "metric: adds up its batches wrongly": (
        (
            "    statistics = Moments\n",
            "    class statistics(Moments):\n        def update(self, features, first):\n"
            "            super().update(features + (first > 0), first)\n\n",
        ),
        "size-of-batches-does-not-matter",
        "taken in 100 at a time its features have .*; let its accumulator add up sums",
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
    "extractor: normalises each image": (
        (
            "x = from_uint8(images)",
            "x = from_uint8(images); x = x - x.mean((1, 2, 3), keepdim=True)",
        ),
        "images-are-told-apart",
        "its feature 'pool' is the same of a black image and of a white one",
    ),
    "extractor: has a network in training": (
        (
            "    def digest(self)",
            "    def __init__(self, path=None):\n        self.network = torch.nn.Linear(1, 1)\n\n"
            "    def digest(self)",
        ),
        "network-is-frozen",
        r"its network 'network' is in training mode .*; call self.network.eval\(\)",
    ),
    "dataset: batches of another order": (
        (
            READ,
            READ
            + "\n\n    def batches(self, *size):\n        for images, labels in super().batches(*size):\n"
            "            yield images.flip(0), labels",
        ),
        "batches-are-the-same-images",
        "`batches` yields other images than `read`",
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
    (old, new), check, complaint, *outcome = BROKEN[fault]
    kind = fault.partition(":")[0]
    text = new_plugin(kind, "broken")
    assert old in text
    file = plugin(tmp_path, text.replace(old, new, 1))
    findings = {f.check: f for f in examination(kind, "broken", plugins=[file])}
    assert [findings[check].outcome] == (outcome or ["failed"]), findings
    assert re.search(complaint, findings[check].sentence), findings[check].sentence


@pytest.mark.parametrize("kind", sorted({*KINDS} - {"method"}))
def test_every_check_has_something_that_it_finds(kind):
    found = {check for fault, (_, check, *_) in BROKEN.items() if fault.startswith(f"{kind}: ")}
    assert found >= {name_of(check) for check in KINDS[kind].quick}
