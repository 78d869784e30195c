"""Teachers of the library diffusers: small random models, saved by the library and read back."""

from __future__ import annotations

import fnmatch
import json
import shutil
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.utils.flop_counter import FlopCounterMode

from bench import registry
from bench.errors import UsageError
from bench.plugin.diffusion import NoiseLevels
from teachers.diffusers import FLOW_SCHEDULERS, VP_SCHEDULERS, DiffusersTeacher

diffusers = pytest.importorskip("diffusers")
huggingface_hub = pytest.importorskip("huggingface_hub")
WEIGHTS = "diffusion_pytorch_model.safetensors"
COMMIT = "0123456789abcdef0123456789abcdef01234567"
PREDICTIONS = ["epsilon", "v_prediction", "sample"]


def small_unet(**changes):
    torch.manual_seed(0)
    shape = {
        "sample_size": 8,
        "in_channels": 1,
        "out_channels": 1,
        "layers_per_block": 1,
        "norm_num_groups": 4,
    }
    blocks = {
        "down_block_types": ("DownBlock2D", "AttnDownBlock2D"),
        "up_block_types": ("AttnUpBlock2D", "UpBlock2D"),
    }
    return diffusers.UNet2DModel(
        **(shape | blocks | {"block_out_channels": (8, 16), "attention_head_dim": 4} | changes)
    )


def save_pipeline(folder, scheduler, unet=None):
    diffusers.DDPMPipeline(unet or small_unet(), scheduler).save_pretrained(folder)
    return str(folder)


@pytest.fixture
def folder(tmp_path):
    """A pipeline with DDPM's own schedule, as save_pretrained lays it out."""
    return save_pipeline(tmp_path / "model", diffusers.DDPMScheduler())


def edit(file, **changes):
    file = Path(file)
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


@pytest.mark.parametrize("prediction", PREDICTIONS)
@pytest.mark.parametrize("name", ["DDPMScheduler", "DDIMScheduler"])
def test_the_denoiser_is_the_schedulers_own_prediction_of_the_image(tmp_path, name, prediction):
    scheduler = getattr(diffusers, name)(prediction_type=prediction, clip_sample=False)
    unet = small_unet()
    teacher = DiffusersTeacher(source=save_pipeline(tmp_path / "model", scheduler, unet))
    scheduler.set_timesteps(1000)
    x_t = torch.randn(4, 1, 8, 8)
    for t in (0, 10, 500, 999):
        alpha = scheduler.alphas_cumprod[t].double()
        with torch.no_grad():
            expected = scheduler.step(unet(x_t, t).sample, t, x_t).pred_original_sample
            found = teacher.denoiser(x_t / alpha.sqrt(), ((1 - alpha) / alpha).sqrt().item())
        size = 1 + ((1 - alpha) / alpha).sqrt().item()  # the noise that is subtracted
        torch.testing.assert_close(found, expected.float(), rtol=1e-4, atol=1e-5 * size)


@pytest.mark.parametrize("name", ["FlowMatchEulerDiscreteScheduler", "FlowMatchHeunDiscreteScheduler"])
def test_the_denoiser_of_a_flow_is_one_step_to_its_end(tmp_path, name):
    """From the level t, one Euler step to 0; the shift moves the sampler's steps and not the process."""
    unet = small_unet()
    teacher = DiffusersTeacher(
        source=save_pipeline(tmp_path / "model", getattr(diffusers, name)(shift=3.0), unet)
    )
    euler = diffusers.FlowMatchEulerDiscreteScheduler()
    x_t = torch.randn(4, 1, 8, 8)
    for t in (0.01, 0.4, 0.95):
        euler.set_timesteps(sigmas=[t])
        with torch.no_grad():
            expected = euler.step(
                unet(x_t, euler.timesteps[0]).sample, euler.timesteps[0], x_t
            ).prev_sample
            found = teacher.denoiser(x_t / (1 - t), t / (1 - t))
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    assert teacher.noise == NoiseLevels()


def test_what_is_known_of_the_teacher_follows_from_its_files(folder):
    teacher = DiffusersTeacher(source=folder)
    assert registry.teachers.get("diffusers") is DiffusersTeacher  # it fulfils its contract
    assert (teacher.image_spec.shape, teacher.image_spec.label_dim) == ((1, 8, 8), 0)
    assert (teacher.noise.sigma_min, teacher.noise.sigma_max) == (
        pytest.approx(0.01, rel=1e-2),
        pytest.approx(157.4, rel=1e-3),
    )
    assert (teacher.dataset, teacher.protocol) == (None, None)
    assert [str(f.relative_to(folder)) for f in teacher.files] == [
        "unet/config.json",
        "scheduler/scheduler_config.json",
        f"unet/{WEIGHTS}",
    ]


@pytest.mark.parametrize(
    "scheduler",
    [
        diffusers.DDPMScheduler(),
        diffusers.DDPMScheduler(prediction_type="v_prediction", rescale_betas_zero_snr=True),
        diffusers.EulerDiscreteScheduler(prediction_type="v_prediction", rescale_betas_zero_snr=True),
        diffusers.DPMSolverMultistepScheduler(beta_schedule="squaredcos_cap_v2"),
        diffusers.FlowMatchEulerDiscreteScheduler(),
    ],
    ids=["ddpm", "zero-snr", "euler-zero-snr", "cosine", "flow"],
)
def test_it_samples_finite_images(tmp_path, scheduler):
    teacher = DiffusersTeacher(source=save_pipeline(tmp_path / "model", scheduler))
    assert 10 < teacher.noise.sigma_max <= 160
    images = teacher.sample(torch.randn(2, 1, 8, 8, generator=torch.Generator().manual_seed(0)))
    assert images.isfinite().all()


@pytest.mark.parametrize("name", VP_SCHEDULERS + FLOW_SCHEDULERS)
def test_every_scheduler_of_the_list_gives_the_same_process(tmp_path, name):
    unet = small_unet()
    betas = (
        {}
        if name.startswith("Flow")
        else {"beta_start": 1e-4, "beta_end": 0.02, "beta_schedule": "linear"}
    )
    teacher = DiffusersTeacher(
        source=save_pipeline(tmp_path / "model", getattr(diffusers, name)(**betas), unet)
    )
    assert teacher.noise.sigma_max == pytest.approx(80 if name.startswith("Flow") else 157.4, rel=1e-3)


def test_a_bare_network_is_read_with_its_scheduler_beside_it(tmp_path, folder):
    """The layout of the CIFAR-10 DDPM: every file in one folder."""
    flat = tmp_path / "flat"
    flat.mkdir()
    for file in (
        "unet/config.json",
        f"unet/{WEIGHTS}",
        "scheduler/scheduler_config.json",
        "model_index.json",
    ):
        shutil.copy(Path(folder) / file, flat)
    assert DiffusersTeacher(source=str(flat)).digest() == DiffusersTeacher(source=folder).digest()


def test_weights_with_the_attentions_old_names_are_the_same_teacher(folder):
    """Attention layers were called query, key, value and proj_attn when the CIFAR-10 DDPM was published."""
    before, file = DiffusersTeacher(source=folder).digest(), Path(folder) / "unet" / WEIGHTS
    old = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    renamed = load_file(file)
    for new, name in old.items():
        assert any(f".{new}." in k for k in renamed)
        renamed = {k.replace(f".{new}.", f".{name}."): v for k, v in renamed.items()}
    save_file(renamed, file)
    assert DiffusersTeacher(source=folder).digest() == before


def test_other_weights_for_the_same_network_are_read_from_a_file(tmp_path, folder):
    """Also in float16, which is widened without loss."""
    halved = {k: v.half() for k, v in load_file(Path(folder) / "unet" / WEIGHTS).items()}
    save_file(halved, tmp_path / "half.safetensors")
    teacher = DiffusersTeacher(tmp_path / "half.safetensors", folder)
    for name, tensor in halved.items():
        torch.testing.assert_close(
            teacher.denoiser.state_dict()[f"model.unet.{name}"], tensor.float(), rtol=0, atol=0
        )
    halved.pop("conv_in.weight")
    save_file(halved, tmp_path / "damaged.safetensors")
    with pytest.raises(UsageError, match=r"conv_in\.weight"):
        DiffusersTeacher(tmp_path / "damaged.safetensors", folder)


def test_the_digest_holds_the_weights_and_the_process_and_not_the_versions(folder):
    first = DiffusersTeacher(source=folder).digest()
    edit(f"{folder}/scheduler/scheduler_config.json", _diffusers_version="0.0.0")
    assert DiffusersTeacher(source=folder).digest() == first
    edit(f"{folder}/scheduler/scheduler_config.json", prediction_type="v_prediction")
    second = DiffusersTeacher(source=folder).digest()
    edit(f"{folder}/scheduler/scheduler_config.json", prediction_type="epsilon", beta_end=0.019)
    assert len({first, second, DiffusersTeacher(source=folder).digest()}) == 3


def test_one_hot_labels_become_class_indices(tmp_path):
    unet = small_unet(num_class_embeds=3)
    teacher = DiffusersTeacher(
        source=save_pipeline(tmp_path / "model", diffusers.FlowMatchEulerDiscreteScheduler(), unet)
    )
    assert teacher.image_spec.label_dim == 3
    y, classes = torch.randn(3, 1, 8, 8), torch.tensor([2, 0, 1])
    with torch.no_grad():
        found = teacher.denoiser(y, 1.0, torch.nn.functional.one_hot(classes, 3).float())
        velocity = unet(y / 2, torch.full((3,), 500.0), classes).sample
    torch.testing.assert_close(found, y / 2 - velocity / 2)
    with pytest.raises(UsageError, match="knows 3 classes, and no labels were given"):
        teacher.denoiser(y, 1.0)


def test_a_predicted_variance_is_not_used(tmp_path):
    unet = small_unet(out_channels=2)
    scheduler = diffusers.DDPMScheduler(variance_type="learned_range")
    teacher = DiffusersTeacher(source=save_pipeline(tmp_path / "model", scheduler, unet))
    sigma = ((1 - scheduler.alphas_cumprod[300]) / scheduler.alphas_cumprod[300]).sqrt()
    y = torch.randn(2, 1, 8, 8)
    with torch.no_grad():
        found = teacher.denoiser(y, sigma.expand(2))
        noise = unet(y / (1 + sigma**2).sqrt(), 300).sample[:, :1]
    torch.testing.assert_close(found, y - sigma * noise, rtol=1e-4, atol=1e-5)


def test_a_trainable_copy_starts_as_the_denoiser_and_learns_alone(folder):
    teacher = DiffusersTeacher(source=folder)
    network = teacher.trainable_copy(dropout=0.1)
    drops = {name: m.p for name, m in network.named_modules() if isinstance(m, torch.nn.Dropout)}
    assert {p for name, p in drops.items() if name.endswith("dropout")} == {0.1}
    y, sigma = torch.randn(2, 1, 8, 8, requires_grad=True), torch.tensor([0.5, 5.0])
    with FlopCounterMode(display=False) as counter:
        out = network(y, sigma)
    torch.testing.assert_close(out, teacher.denoiser(y, sigma), rtol=0, atol=0)
    assert counter.get_total_flops() > 0
    out.square().sum().backward()
    assert y.grad.abs().sum() > 0
    assert all(p.grad is not None and p.requires_grad for p in network.parameters())
    assert not any(p.requires_grad or p.grad is not None for p in teacher.denoiser.parameters())


def test_a_repository_is_read_from_the_hubs_cache_when_offline(tmp_path, folder, monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    with pytest.raises(UsageError, match=r"neither a folder nor a repository .*BENCH_OFFLINE=1"):
        DiffusersTeacher(source="someone/digits")
    cached = tmp_path / "hub" / "models--someone--digits"
    shutil.copytree(folder, cached / "snapshots" / COMMIT)
    (cached / "refs").mkdir()
    (cached / "refs" / "main").write_text(COMMIT)
    teacher, local = DiffusersTeacher(source="someone/digits"), DiffusersTeacher(source=folder)
    assert teacher.digest() == local.digest()
    assert (teacher.note, local.note) == (f"commit {COMMIT} of someone/digits", "")


def test_of_a_repository_only_configurations_and_one_file_of_weights_are_downloaded(
    tmp_path, folder, monkeypatch
):
    """The weights come from the commit whose configurations were read, whatever is pushed in between."""
    (Path(folder) / "unet" / "diffusion_pytorch_model.bin").write_bytes(b"a pickle")
    (Path(folder) / "script.py").write_text("raise SystemExit")
    calls, snapshot = [], tmp_path / "snapshots" / COMMIT

    def snapshot_download(source, *, revision, allow_patterns, local_files_only):
        calls.append((source, revision, local_files_only))
        for file in Path(folder).rglob("*.*"):
            name = str(file.relative_to(folder))
            if any(fnmatch.fnmatch(name, pattern) for pattern in allow_patterns):
                (snapshot / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(file, snapshot / name)
        return str(snapshot)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    monkeypatch.delenv("BENCH_OFFLINE")
    DiffusersTeacher(source="someone/digits")
    assert calls == [("someone/digits", None, False), ("someone/digits", COMMIT, False)]
    names = {str(f.relative_to(snapshot)) for f in snapshot.rglob("*.*")}
    assert names == {
        "model_index.json",
        "scheduler/scheduler_config.json",
        "unet/config.json",
        f"unet/{WEIGHTS}",
    }


def test_a_hub_that_does_not_answer_is_one_sentence(monkeypatch):
    def snapshot_download(*_, **__):
        raise huggingface_hub.errors.LocalEntryNotFoundError("no connection\nand a traceback")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    monkeypatch.delenv("BENCH_OFFLINE")
    with pytest.raises(
        UsageError, match=r"neither a folder nor a repository that the hub gives \(no connection\);"
    ):
        DiffusersTeacher(source="someone/digits")


@pytest.mark.parametrize("source", ["no/such/folder", "/no/such/folder", "a b"])
def test_what_is_neither_a_folder_nor_a_repository_is_refused(source):
    with pytest.raises(UsageError, match=f"'{source}' is neither a folder nor a repository"):
        DiffusersTeacher(source=source)


def test_a_teacher_without_a_model_is_refused():
    with pytest.raises(UsageError, match="needs a model; name one as diffusers:FOLDER"):
        DiffusersTeacher()


def test_without_the_library_the_extra_is_named(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "diffusers", None)
    with pytest.raises(UsageError, match=r"pip install 'distill-bench\[diffusers\]'"):
        DiffusersTeacher(source=folder)


def test_pickled_weights_are_not_opened(folder):
    file = Path(folder) / "unet" / WEIGHTS
    file.rename(file.with_suffix(".bin"))
    with pytest.raises(UsageError, match=r"has neither .* \(\.bin\) are not taken from there"):
        DiffusersTeacher(source=folder)


LAYOUTS = {"shards": {"max_shard_size": "20KB"}, "variant": {"variant": "fp16"}}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_weights_are_read_in_every_layout_of_save_pretrained(folder, layout):
    expected = DiffusersTeacher(source=folder)
    shutil.rmtree(Path(folder) / "unet")
    small_unet().save_pretrained(Path(folder) / "unet", **LAYOUTS[layout])
    assert not (Path(folder) / "unet" / WEIGHTS).exists()
    found = DiffusersTeacher(source=folder)
    assert found.digest() == expected.digest()
    assert len(found.files) == 2 + len(list((Path(folder) / "unet").glob("*.safetensors")))


def test_a_state_dict_of_torch_is_read_where_it_is_given(folder, tmp_path):
    expected = DiffusersTeacher(source=folder)
    torch.save(load_file(Path(folder) / "unet" / WEIGHTS), tmp_path / "weights.bin")
    assert DiffusersTeacher(tmp_path / "weights.bin", source=folder).digest() == expected.digest()


@pytest.mark.parametrize(
    "content",
    [
        "{}",
        "[]",
        '{"weight_map": {}}',
        '{"weight_map": [1]}',
        '{"weight_map": {"a": 3}}',
        '{"weight_map": {"a": "/etc/passwd"}}',
        '{"weight_map": {"a": "../../secret.safetensors"}}',
    ],
)
def test_an_index_leads_to_files_beside_it_alone(folder, content):
    (Path(folder) / "unet" / WEIGHTS).unlink()
    (Path(folder) / "unet" / f"{WEIGHTS}.index.json").write_text(content)
    with pytest.raises(UsageError, match=r"names no files beside it|holds no JSON object"):
        DiffusersTeacher(source=folder)


def test_a_tensor_that_no_network_has_is_named(folder, tmp_path):
    tensors = load_file(Path(folder) / "unet" / WEIGHTS)
    save_file(tensors | {"step": torch.tensor([3])}, tmp_path / "more.safetensors")
    with pytest.raises(UsageError, match="it has too much step"):
        DiffusersTeacher(tmp_path / "more.safetensors", source=folder)


REFUSED = {
    "model_index.json": [({"vae": ["diffusers", "AutoencoderKL"]}, "works in the latents of its 'vae'")],
    "unet/config.json": [
        (
            {"_class_name": "UNet2DConditionModel"},
            "is a UNet2DConditionModel; only UNet2DModel can be a teacher",
        ),
        ({"sample_size": None}, "images of size None"),
        ({"sample_size": [8, 16]}, r"images of size (\[|\()8, 16"),
        ({"in_channels": 4}, "4 channels in and 1 out"),
        ({"time_embedding_type": "fourier"}, "time_embedding_type 'fourier'"),
        ({"class_embed_type": "timestep"}, "class_embed_type 'timestep'"),
        ({"down_block_types": ["NoBlock2D", "NoBlock2D"]}, "diffusers cannot build a UNet2DModel"),
        ({"block_out_channels": 3}, "diffusers cannot build a UNet2DModel"),
        ({"block_out_channels": [8, 32]}, "the weights file"),
        ({"block_out_channels": [2048, 2048]}, "the weights file"),
        ({"num_class_embeds": 100_000, "time_embedding_dim": 2**40}, "the weights file|cannot build"),
        (
            {"layers_per_block": 10**8},
            "has layers_per_block 100000000, expected an integer from 1 to 16;",
        ),
        ({"layers_per_block": True}, "has layers_per_block True, expected an integer"),
        ({"layers_per_block": [1]}, "has layers_per_block a list, expected an integer"),
        (
            {"block_out_channels": [16384]},
            "has block_out_channels 16384, expected an integer from 1 to 2,048, or 1 to 8",
        ),
        ({"block_out_channels": [8] * 10**5}, "has block_out_channels 100,000 times"),
        ({"block_out_channels": []}, "has block_out_channels 0 times"),
        ({"in_channels": 10**9}, "has in_channels 1000000000,"),
        ({"out_channels": "1"}, "has out_channels '1',"),
        ({"sample_size": 2**30}, "has sample_size 1073741824, expected an integer from 4 to 1,024"),
        ({"sample_size": [8, [8]]}, "has sample_size a list,"),
        ({"norm_num_groups": 0}, "has norm_num_groups 0,"),
        ({"attention_head_dim": -1}, "has attention_head_dim -1,"),
        (
            {"num_class_embeds": 10**10},
            "has num_class_embeds 10000000000, expected an integer from 1 to 100,000",
        ),
        ({"act_fn": "\n" * 9 + "x" * 10**5}, "diffusers cannot build a UNet2DModel"),
        ({"_class_name": "x\n" * 10**5}, "is a x x x .*; only UNet2DModel"),
        ({"note": "x" * 2**20}, "it is larger than 1,048,576 bytes"),
    ],
    "scheduler/scheduler_config.json": [
        (
            {"_class_name": "ScoreSdeVeScheduler"},
            "is a ScoreSdeVeScheduler; expected one of DDIMScheduler",
        ),
        ({"_class_name": "os.system"}, "is a os.system; expected one of"),
        ({"prediction_type": "flow_prediction"}, "'flow_prediction' is not known"),
        ({"beta_schedule": "none"}, "diffusers cannot build a DDPMScheduler"),
        ({"trained_betas": [0.1, -0.2, 0.1]}, "do not fall"),
        ({"trained_betas": [1e-4] * 10_001}, "has 10,001 trained_betas, expected at most 10,000"),
        (
            {"num_train_timesteps": 10**10},
            "has num_train_timesteps 10000000000, expected an integer from 1 to 10,000",
        ),
        (
            {"_class_name": "FlowMatchEulerDiscreteScheduler", "num_train_timesteps": "1"},
            "has num_train_timesteps '1'",
        ),
        (
            {"_class_name": "UniPCMultistepScheduler", "solver_order": 10**10},
            "has solver_order 10000000000,",
        ),
        (
            {"_class_name": "EulerDiscreteScheduler", "timestep_type": "continuous"},
            "timestep_type=continuous",
        ),
        (
            {"_class_name": "FlowMatchEulerDiscreteScheduler", "invert_sigmas": True},
            "invert_sigmas=True",
        ),
    ],
}


@pytest.mark.parametrize(
    ("file", "changes", "sentence"), [(file, *case) for file, cases in REFUSED.items() for case in cases]
)
def test_a_model_of_another_kind_is_refused_in_a_sentence(folder, file, changes, sentence):
    edit(Path(folder) / file, **changes)
    with pytest.raises(UsageError, match=sentence) as error:
        DiffusersTeacher(source=folder)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 600


def test_a_configuration_that_is_nested_too_deeply_is_refused(folder):
    (Path(folder) / "unet" / "config.json").write_text("[" * 10**5)
    with pytest.raises(UsageError, match="cannot be read"):
        DiffusersTeacher(source=folder)


def test_no_network_larger_than_its_weights_is_built(folder):
    """Of the largest network that a configuration may ask for, 30 GB, nothing is allocated before
    its weights are seen to fit.
    """
    blocks = {"down_block_types": ["DownBlock2D"] * 8, "up_block_types": ["UpBlock2D"] * 8}
    edit(f"{folder}/unet/config.json", block_out_channels=[2048] * 8, layers_per_block=4, **blocks)
    with pytest.raises(UsageError, match="does not fit its network"):
        DiffusersTeacher(source=folder)


@pytest.mark.parametrize("kind", ["", "K"])
def test_nothing_of_the_network_stays_without_values(tmp_path, kind):
    """The filters of the K-blocks are constants that no file holds."""
    blocks = {
        "down_block_types": (f"{kind}DownBlock2D",) * 2,
        "up_block_types": (f"{kind}UpBlock2D",) * 2,
    }
    unet = small_unet(block_out_channels=(32, 32), **blocks)
    teacher = DiffusersTeacher(source=save_pipeline(tmp_path / "model", diffusers.DDPMScheduler(), unet))
    read = teacher.denoiser.model.unet
    assert any(True for _ in read.buffers()) == (kind == "K")
    assert not any(t.is_meta for t in (*teacher.denoiser.parameters(), *teacher.denoiser.buffers()))
    x = torch.randn(2, 1, 8, 8)
    torch.testing.assert_close(read(x, 3).sample, unet(x, 3).sample, rtol=0, atol=0)


@pytest.mark.parametrize("file", ["unet/config.json", "scheduler/scheduler_config.json"])
@pytest.mark.parametrize(
    ("content", "sentence"), [(None, "has no"), ("{", "cannot be read"), ("[]", "holds no JSON")]
)
def test_a_configuration_that_is_not_there_or_not_json_is_named(folder, file, content, sentence):
    path = Path(folder) / file
    path.unlink()
    if content is not None:
        path.write_text(content)
    with pytest.raises(UsageError, match=f"{sentence}.*") as error:
        DiffusersTeacher(source=folder)
    assert file in str(error.value)
