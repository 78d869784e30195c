"""Methods that are broken on purpose, each in one place: ``bench check`` names the fault and what to do."""

from __future__ import annotations

import re

import pytest

from bench import registry
from bench.conformance.examination import KINDS, examination
from bench.conformance.finding import Fault, examine, look, name_of
from bench.conformance.method_subject import MethodSubject
from bench.scaffold.scaffold import new_plugin
from tests.helpers.plugins import plugin

BROKEN: dict[
    str, tuple
] = {  # what is replaced, the check, its words, and "warning" where it does not fail
    "has no generator": (
        ("self.generator = teacher.trainable_copy(self.settings.dropout)", "pass"),
        "builds-on-a-teacher",
        "build leaves self.generator without a network; set it in build",
    ),
    "has no finite loss": (
        ("return (gap * x).sum(pixels(x))", "return (gap * x).sum(pixels(x)) / 0"),
        "trains",
        "training diverged: the loss of the generator step is -?(inf|nan) at update 1",
    ),
    "overflows in 16 bits": (
        (
            "return (gap * x).sum(pixels(x))",
            "large = torch.tensor(7e4).to(getattr(self.fake, 'half_type', None) or torch.float32)\n"
            "        return (gap * x).sum(pixels(x)) * large.float()",
        ),
        "losses-are-finite-in-fp16",
        "with networks in fp16, the loss of the generator step is -?(inf|nan)",
    ),
    "takes a mean over a part of a batch": (
        (
            "return (gap * x).sum(pixels(x))",
            "return (gap * x).sum(pixels(x)) * x.detach().mean().sigmoid()",
        ),
        "parts-of-a-batch-agree-with-the-whole",
        "a batch that is computed in two parts gives other weights .*; draw for each image",
    ),
    "goes away from the teacher": (
        ("return (gap * x).sum(pixels(x))", "return -(gap * x).sum(pixels(x))"),
        "improves-on-its-beginning",
        "which is no improvement; try another lr",
        "warning",
    ),
    "trains the teacher": (
        (
            "self.generator = teacher.trainable_copy(self.settings.dropout)  # averaged, evaluated, saved",
            "self.generator = teacher.denoiser",
        ),
        "teacher-is-never-changed",
        "a step trains the teacher's own network; begin from teacher.trainable_copy",
    ),
    "leaks gradient into a frozen network": (
        (
            "return (gap * x).sum(pixels(x))",
            "self.fake.requires_grad_(True)\n"
            "        leak = self.fake(y.detach(), sigma, batch.labels).square().sum(pixels(x))\n"
            "        return (gap * x).sum(pixels(x)) + 1e-3 * leak",
        ),
        "gradients-reach-the-steps-own-networks-and-no-others",
        "the loss of the generator step leaves a gradient in .*fake.*, which it does not train",
    ),
    "states a wrong NFE": (
        ("    settings: Settings\n", "    settings: Settings\n    nfe = 2\n"),
        "nfe-is-the-number-of-evaluations",
        "`nfe` says 2, and `generate` spends 1 evaluations .*; return 1 from the property",
    ),
    "is not deterministic": (
        (
            "y = add_noise(x, sigma)",
            "import os\n            y = add_noise(x, sigma * (1 + os.urandom(1)[0] / 256))",
        ),
        "same-seed-gives-the-same-weights",
        "two trainings from one seed end with other weights .*; draw all random numbers from torch's global",
    ),
    "has NaN at large sigma": (
        ("return (gap * x)", "return (gap * sigma.exp()[:, None, None, None] * x)"),
        "losses-are-finite-at-extreme-noise",
        "with the highest noise levels that may be drawn, the loss of the generator step is -?(inf|nan)",
    ),
    "forgets labels": (
        ("return self.generator(sigma * z, sigma, labels)", "return self.generator(sigma * z, sigma)"),
        "generator-sees-its-labels",
        "the images of other labels are the same; pass `labels` on to the generator",
    ),
    "forgets labels of one network": (
        (
            "return denoising_loss(self.fake, x, self.noise, batch.labels)",
            "return denoising_loss(self.fake, x, self.noise)",
        ),
        "losses-see-their-labels",
        "the loss of the fake step calls the fake without labels",
    ),
    "forgets the teacher's labels": (
        ("self.teacher(y, sigma, batch.labels)", "self.teacher(y, sigma)"),
        "losses-see-their-labels",
        "the loss of the generator step calls the teacher without labels",
    ),
    "registers twice": (
        (
            "from bench.plugin import (",
            "from bench.plugin import Method as M\nfrom bench.plugin import register_method as r\nr('broken')(M)\nfrom bench.plugin import (",
        ),
        "is-registered",
        "registers the method 'broken', but the plugin file .* already provides that name; choose another",
    ),
    "fails to import": (
        ("import torch\n", "import torch\nimport not_there\n"),
        "is-registered",
        "does not import: ModuleNotFoundError: No module named 'not_there'",
    ),
    "does not declare its need of data": (
        ("            x = self.generate(batch.z, batch.labels)\n", "            x, _ = batch.real\n"),
        "requires-the-data-that-its-losses-read",
        r"a loss reads batch.real, which `requires` does not name.*; return \(RealImages\(\),\)",
    ),
    "requires data that it does not read": (
        (
            "    def build(self",
            "    @classmethod\n    def requires(cls, settings):\n"
            "        from bench.plugin import RealImages\n        return (RealImages(),)\n\n    def build(self",
        ),
        "requires-the-data-that-its-losses-read",
        "`requires` names RealImages, and no loss reads batch.real; leave it out",
        "warning",
    ),
    "makes images of another range": (
        (
            "return self.generator(sigma * z, sigma, labels)",
            "return 127.5 * (1 + self.generator(sigma * z, sigma, labels))",
        ),
        "images-are-of-the-noises-shape-and-range",
        r"`generate` returns values from .* to .*, expected \[-1, 1\]",
    ),
    "makes images from 0 to 1": (
        (
            "return self.generator(sigma * z, sigma, labels)",
            "return 0.5 * (1 + self.generator(sigma * z, sigma, labels).clamp(-1, 1))",
        ),
        "images-are-of-the-noises-shape-and-range",
        r"`generate` returns no value below 0 .*, expected \[-1, 1\]",
    ),
    "logs what is no scalar": (
        ("gap.square().mean()", "gap.square().mean(pixels(x))"),
        "logs-are-single-numbers",
        r"batch.logs\['score_gap'\] of the generator step of method 'broken' is a tensor of shape \(16,\), expected",
    ),
    "depends on the order of the batch": (
        (
            "return (gap * x).sum(pixels(x))",
            "return (gap * x).sum(pixels(x)) * torch.linspace(0.5, 1, len(x))",
        ),
        "losses-do-not-depend-on-the-order-of-the-batch",
        "an image's loss in the generator step depends on its place in the batch; compute each",
    ),
    "keeps a number that no checkpoint has": (
        (
            "return (gap * x).sum(pixels(x))",
            "self.scale = 0.5 + 0.5 * getattr(self, 'scale', 0.0)\n        return self.scale * (gap * x).sum(pixels(x))",
        ),
        "continuing-is-the-same-as-never-stopping",
        "ends with other weights than one that was not .*; keep what training changes in a network",
    ),
    "fails for another reason than data": (
        ("return (gap * x).sum(pixels(x))", "_ = batch.real\n        raise ValueError('no such mode')"),
        "requires-the-data-that-its-losses-read",
        "it raises ValueError at plugin.py, line .*: no such mode",
    ),
    "averages its loss": (
        ("return (gap * x).sum(pixels(x))", "return (gap * x).mean()"),
        "losses-are-one-value-for-each-image",
        "the loss of the generator step of method 'broken' returns is a tensor with one value and no dimension",
    ),
}


@pytest.mark.parametrize("fault", BROKEN)
def test_a_fault_is_named_with_its_reason_and_remedy(tmp_path, fault):
    (old, new), check, complaint, *outcome = BROKEN[fault]
    text = new_plugin("method", "broken")
    assert old in text
    file = plugin(tmp_path, text.replace(old, new, 1))
    findings = {}
    for finding in examination("method", "broken", plugins=[file]):
        findings[finding.check] = finding
        if finding.check == check:
            break
    assert [findings[check].outcome] == (outcome or ["failed"]), findings
    assert re.search(complaint, findings[check].sentence), findings[check].sentence


def test_passes_that_the_card_states_otherwise_are_named(tmp_path):
    file = plugin(tmp_path, new_plugin("method", "broken"))
    file.with_suffix(".yaml").write_text("passes:\n  generator: {forward: 5}\n")
    registry.load_plugin(file)
    (check,) = (c for c in KINDS["method"].checks if name_of(c) == "passes-are-those-of-the-card")
    finding = look(check, MethodSubject("broken"))
    assert finding.outcome == "failed"
    assert "the card states forward passes generator 5, an iteration spends " in finding.reason


def test_every_check_has_something_that_it_finds():
    found = {check for _, check, *_ in BROKEN.values()} | {"passes-are-those-of-the-card"}
    assert found >= {name_of(check) for check in KINDS["method"].quick}


def test_a_gate_that_fails_ends_the_examination():
    seen = []

    def gate(subject):
        """It is open."""
        raise Fault("it is shut", "open it")

    assert [f.check for f in examine([gate, seen.append], [seen.append], None)] == ["gate"]
    assert seen == []


def test_the_command_says_so_and_ends_with_1(tmp_path, bench):
    (old, new), check, complaint = BROKEN["fails to import"]
    file = plugin(tmp_path, new_plugin("method", "broken").replace(old, new, 1))
    code, out, err = bench("check", "method", "broken", "--plugin", file)
    assert code == 1, err
    assert re.search(f"failed {check}: .*{complaint}", out)
    left = "; [0-9]+ checks are left for when that is mended"
    assert re.fullmatch(
        f"broken does not keep the contract of a method: 1 failed{left}", out.splitlines()[-1]
    )


def test_a_name_that_nothing_has_is_a_mistake_of_the_command(bench):
    code, out, err = bench("check", "method", "sidd")
    assert (code, out) == (2, "")
    assert "did you mean 'sid'?" in err


@pytest.mark.parametrize(
    ("kind", "name", "sentence"),
    [
        ("method", "sid", "unknown setting of method 'sid': 'alhpa'; did you mean 'alpha'"),
        ("metric", "kid", "unknown setting of metric 'kid': 'alhpa'"),
        ("teacher", "edm-digits", "settings are for methods and metrics, given 'alhpa' for the teacher"),
    ],
)
def test_a_setting_that_the_thing_does_not_have_is_one_too(bench, kind, name, sentence):
    code, out, err = bench("check", kind, name, "--set", "alhpa=1")
    assert (code, out) == (2, "")
    assert sentence in err


def test_the_cards_passes_are_those_of_its_own_settings():
    (checked,) = (c for c in KINDS["method"].checks if name_of(c) == "passes-are-those-of-the-card")
    assert look(checked, MethodSubject("sid")).outcome == "passed"
    assert look(checked, MethodSubject("sid", {"alpha": 1.1})).outcome == "skipped"


def test_a_warning_is_told_of_at_the_end(bench, tmp_path):
    text = new_plugin("metric", "broken").replace('direction = "lower"', 'direction = "higher"')
    out = bench.ok("check", "metric", "broken", "--plugin", plugin(tmp_path, text)).out
    assert "broken keeps the contract of a metric, with 2 warnings, read them: " in out


def test_a_plugin_file_that_is_not_there_is_one_too(bench):
    code, out, err = bench("check", "method", "sid", "--plugin", "nowhere.py")
    assert (code, out) == (2, "")
    assert "the plugin file 'nowhere.py' does not exist" in err


def test_findings_are_data_too(bench):
    found = bench.json("check", "metric", "fid")
    assert {finding["outcome"] for finding in found} == {"passed"}
    assert all(finding["fact"].endswith(".") for finding in found)
