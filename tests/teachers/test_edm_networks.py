"""EDM's networks against the reference implementation's numbers, names and shapes, stored in
tests/fixtures/edm.
"""

from __future__ import annotations

import copy
from functools import partial

import numpy as np
import pytest
import torch

from bench.evaluation.sampling import seeded_draw, seeded_noise
from bench.plugin import few_steps
from bench.plugin.diffusion import NoiseLevels
from bench.plugin.images import ImageSpec
from bench.plugin.sampler import Sampler
from teachers.networks.config import NetworkConfig
from tests.helpers.edm_reference import (
    CONFIGURATIONS,
    PUBLISHED,
    config,
    network,
    stored,
    tensor,
    weights,
)

TOLERANCE = {torch.float32: 2e-6, torch.float64: 1e-9}
"""Relative to the largest value, for outputs."""
SUFFIX = {torch.float32: "f32", torch.float64: "f64"}
DTYPES = pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["f32", "f64"])
every = pytest.mark.parametrize("name", CONFIGURATIONS)


def inputs(name, dtype):
    return [tensor(name, f"in/{key}", dtype) for key in ("x", "sigma", "class_labels", "augment_labels")]


def assert_near(value, reference, tolerance):
    reference = reference.to(value.dtype)
    assert (value - reference).abs().max() <= tolerance * reference.abs().max()


@every
@DTYPES
def test_outputs_and_gradients_are_the_references(name, dtype):
    denoiser, (x, sigma, labels, augment) = network(name, dtype), inputs(name, dtype)
    x.requires_grad_()
    out = denoiser(x, sigma, labels, augment)
    assert_near(out.detach(), tensor(name, f"out/D_{SUFFIX[dtype]}"), TOLERANCE[dtype])
    (out * tensor(name, "in/probe", dtype)).sum().backward()
    gradient = tensor(name, f"out/grad_x_{SUFFIX[dtype]}", dtype)
    torch.testing.assert_close(x.grad, gradient, rtol=0, atol=5e-5 if dtype == torch.float32 else 1e-9)
    norms = dict(
        zip(
            stored(name)["out/grad_param_names"].tolist(),
            stored(name)[f"out/grad_param_norms_{SUFFIX[dtype]}"].tolist(),
            strict=True,
        )
    )
    own = {n: p.grad.norm().item() for n, p in denoiser.named_parameters()}
    assert own == pytest.approx(norms, rel=5e-5 if dtype == torch.float32 else 1e-9)


@every
def test_without_augmentation_or_class_labels(name):
    denoiser, (x, sigma, labels, augment) = network(name), inputs(name, torch.float32)
    if augment is not None:
        assert_near(denoiser(x, sigma, labels), tensor(name, "out/D_f32_no_augment"), 2e-6)
        zeros = torch.zeros_like(augment)
        torch.testing.assert_close(
            denoiser(x, sigma, labels), denoiser(x, sigma, labels, zeros), rtol=0, atol=1e-6
        )
    if labels is not None:
        assert_near(denoiser(x, sigma, None, augment), tensor(name, "out/D_f32_no_class"), 2e-6)


@every
def test_every_stage_of_the_network_agrees(name):
    """The raw network, the embedding around each layer, the statistics of every block: where an
    error would show.
    """
    denoiser, (x, sigma, labels, augment) = network(name), inputs(name, torch.float32)
    inner, seen = denoiser.model, {}
    inner.map_noise.register_forward_hook(lambda m, i, o: seen.update(map_noise_out=o))
    inner.map_layer0.register_forward_pre_hook(lambda m, i: seen.update(map_layer0_in=i[0]))
    inner.map_layer0.register_forward_hook(lambda m, i, o: seen.update(map_layer0_out=o))
    inner.map_layer1.register_forward_hook(lambda m, i, o: seen.update(map_layer1_out=o))
    trace = {}
    for part in ("enc", "dec"):
        for entry, layer in getattr(inner, part).items():
            layer.register_forward_hook(lambda m, i, o, key=f"{part}.{entry}": trace.__setitem__(key, o))
    raw = []
    inner.register_forward_hook(lambda m, i, o: raw.append(o))
    denoiser(x, sigma, labels, augment)
    assert_near(raw[0], tensor(name, "out/F_f32"), 2e-6)
    for key, value in seen.items():
        assert_near(value, tensor(name, f"out/{key}"), 2e-6)
    names = [n.removeprefix("model.") for n in stored(name)["out/trace_names"].tolist()]
    assert list(trace) == names
    own = np.array(
        [
            [f(t).item() for f in (torch.mean, partial(torch.std, correction=0), torch.min, torch.max)]
            for t in trace.values()
        ]
    )
    np.testing.assert_allclose(own, stored(name)["out/trace_stats"], atol=1e-4)


@every
@DTYPES
def test_heun_in_18_steps_gives_the_references_images(name, dtype):
    z, labels = tensor(name, "in/latents", dtype), tensor(name, "in/latent_class_labels", dtype)
    levels = NoiseLevels()
    np.testing.assert_allclose(Sampler(18).levels(levels), stored(name)["out/t_steps18"], rtol=1e-12)
    with torch.no_grad():
        images = Sampler(18)(network(name, dtype), z, levels, labels)
    reference = tensor(name, "out/heun18" if dtype == torch.float32 else "out/heun18_f64net")
    torch.testing.assert_close(
        images.double(), reference.double(), rtol=0, atol=5e-5 if dtype == torch.float32 else 1e-9
    )


@every
def test_the_stochastic_sampler_gives_the_references_image_for_each_seed(name):
    """Noise, class and the noise of every step from the seed alone: in one batch, and one by one in
    reverse order.
    """
    denoiser, images = network(name), config(name).image_spec
    sampler = Sampler(8, churn=40, churn_min=0.05, churn_max=50, churn_noise=1.003)
    seeds = [int(s) for s in stored(name)["in/seeds"]]
    assert len(seeds) > 1
    for order in (1, -1):
        made = []
        for seed in seeds[::order]:
            z, labels = seeded_noise(range(seed, seed + 1), images)
            draw = seeded_draw(range(seed, seed + 1), images, torch.device("cpu"))
            with torch.no_grad():
                made.append((z, labels, sampler(denoiser, z, NoiseLevels(), labels, draw)))
        z, labels, out = (
            torch.cat(parts) if parts[0] is not None else None
            for parts in zip(*made[::order], strict=True)
        )
        torch.testing.assert_close(z, tensor(name, "out/seed_latents").to(z.dtype), rtol=0, atol=0)
        if labels is not None:
            torch.testing.assert_close(
                labels, tensor(name, "out/seed_class_labels").float(), rtol=0, atol=0
            )
        torch.testing.assert_close(out.double(), tensor(name, "out/churn8").double(), rtol=0, atol=5e-5)


@every
def test_one_step_generation_agrees(name):
    z, labels = (
        tensor(name, "in/latents", torch.float32),
        tensor(name, "in/latent_class_labels", torch.float32),
    )
    with torch.no_grad():
        assert_near(few_steps(network(name), z, [2.5], labels), tensor(name, "out/onestep"), 2e-6)


@pytest.mark.parametrize("name", PUBLISHED)
def test_names_shapes_order_and_counts_are_those_of_the_published_files(name):
    facts = PUBLISHED[name]
    built = NetworkConfig.checked(facts["init_kwargs"], name).on_meta()
    state = built.state_dict()
    assert list(state) == facts["state_dict_order"]
    assert {n: list(p.shape) for n, p in built.named_parameters()} == facts["parameters"]
    assert {n: list(b.shape) for n, b in built.named_buffers()} == facts["buffers"]
    assert sum(p.numel() for p in built.parameters()) == facts["num_parameters"]
    heads = {n: m.heads for n, m in built.named_modules() if getattr(m, "heads", 0)}
    assert heads == facts["attention_heads"]


def test_every_published_teacher_has_the_network_of_its_file():
    from bench import registry

    found = {}
    for name in registry.teachers.entries():
        teacher = registry.teachers.get(name)
        if hasattr(teacher, "weights"):
            found[teacher.weights.id] = sum(p.numel() for p in teacher.network.on_meta().parameters())
            assert teacher.image_spec == teacher.network.image_spec
            assert teacher.assets == (teacher.weights,)
    expected = {name: facts["num_parameters"] for name, facts in PUBLISHED.items()}
    expected |= {"edm-cifar10-32x32-uncond-ve": 56_397_827}
    expected |= dict.fromkeys(("edm-ffhq-64x64-uncond-ve", "edm-afhqv2-64x64-uncond-ve"), 62_761_091)
    assert {name: found[name] for name in expected} == expected
    assert set(found) - set(expected) == {"edm-cifar10-32x32-cond-ve"}


@pytest.mark.parametrize("name", ["ddpmpp_uncond_aug", "ncsnpp_uncond_aug", "adm_cond"])
def test_channels_last_changes_no_value_and_no_gradient(name):
    results = []
    for layout in (torch.contiguous_format, torch.channels_last):
        denoiser, (x, sigma, labels, augment) = (
            network(name).to(memory_format=layout),
            inputs(name, torch.float32),
        )
        x.requires_grad_()
        out = denoiser(x.contiguous(memory_format=layout), sigma, labels, augment)
        out.square().sum().backward()
        results.append([out.detach(), x.grad, *(p.grad for p in denoiser.parameters())])
    for plain, last in zip(*results, strict=True):
        torch.testing.assert_close(
            last.contiguous(), plain, rtol=0, atol=3e-5 * plain.abs().max().item() + 1e-7
        )


@pytest.mark.parametrize("name", ["ddpmpp_uncond_aug", "ncsnpp_uncond_aug", "adm_cond"])
def test_float16_computes_the_network_alone_in_half_precision(name):
    """Weights, embedding, preconditioning and gradients of the weights stay float32; the values
    agree to half precision.
    """
    full, half = network(name), network(name)
    half.half_type = torch.float16
    seen = {}
    half.model.register_forward_hook(
        lambda m, i, o: seen.update(x=i[0].dtype, c_noise=i[1].dtype, out=o.dtype)
    )
    half.model.map_layer1.register_forward_hook(lambda m, i, o: seen.update(embedding=o.dtype))
    gradients = []
    for denoiser in (full, half):
        x, sigma, labels, augment = inputs(name, torch.float32)
        out = denoiser(x, sigma, labels, augment)
        out.square().sum().backward()
        gradients.append((out.detach(), torch.cat([p.grad.flatten() for p in denoiser.parameters()])))
    assert seen == {
        "x": torch.float16,
        "c_noise": torch.float32,
        "embedding": torch.float32,
        "out": torch.float16,
    }
    assert gradients[1][0].dtype == gradients[1][1].dtype == torch.float32
    assert_near(gradients[1][0], gradients[0][0], 5e-3)
    assert torch.cosine_similarity(gradients[1][1], gradients[0][1], dim=0) > 0.999
    assert copy.deepcopy(half).half_type


def test_a_new_network_starts_as_edms():
    """Output zero but for c_skip x, nearly so for DDPM++; residual branches near zero; weights
    within Xavier's bound.
    """
    torch.manual_seed(0)
    song, adm = config("ddpmpp_cond").build(), config("adm_cond").build()
    x, sigma = torch.randn(2, 3, 32, 32), torch.tensor([0.5, 2.0])
    skip = (0.25 / (sigma**2 + 0.25))[:, None, None, None]
    torch.testing.assert_close(song(x, sigma), skip * x, rtol=0, atol=1e-4)
    torch.testing.assert_close(adm(x[:, :, :16, :16], sigma), skip * x[:, :, :16, :16], rtol=0, atol=0)
    block = song.model.enc["32x32_block0"]
    fan = 9 * (block.conv0.in_channels + block.conv0.out_channels)
    assert block.conv0.weight.abs().max() <= (6 / fan) ** 0.5
    assert block.conv0.weight.abs().max() > 0.9 * (6 / fan) ** 0.5
    assert block.conv1.weight.abs().max() < 1e-5
    assert all((m.bias == 0).all() for m in song.modules() if isinstance(m, torch.nn.Conv2d))


def test_dropout_acts_in_training_mode_only():
    denoiser, (x, sigma, labels, augment) = network("ddpmpp_cond"), inputs("ddpmpp_cond", torch.float32)
    torch.manual_seed(0)
    assert torch.equal(denoiser(x, sigma, labels, augment), denoiser(x, sigma, labels, augment))
    denoiser.train()
    assert not torch.equal(denoiser(x, sigma, labels, augment), denoiser(x, sigma, labels, augment))


def test_the_fixtures_weights_fit_in_their_own_order():
    for name in CONFIGURATIONS:
        assert list(config(name).on_meta().state_dict()) == list(weights(name))
    assert config("adm_cond").image_spec == ImageSpec(3, 16, 10)
