"""Published teachers and generators from files of the true format: small networks, and the
full-size CIFAR-10 one.
"""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from bench import registry
from bench.errors import UsageError
from bench.evaluation.sampling import sample_images, seeded_noise
from bench.factory import open_generator
from bench.files import tensors
from bench.plugin import Sampler, to_uint8
from bench.plugin.diffusion import NoiseLevels
from bench.runs.recipe import make_request
from bench.training.job import make_job
from teachers.edm import EDMFFHQ64, EDMCifar10, EDMCifar10Cond, EDMImageNet64
from teachers.files import checkpoints
from teachers.networks.augment import AugmentPipe
from tests.helpers.edm_reference import PUBLISHED, config, kwargs, network, tensor, weights
from tests.helpers.snapshot_writer import write_snapshot

SMALL, COND = "ddpmpp_uncond_aug", "ddpmpp_cond"


@pytest.fixture
def snapshot(tmp_path):
    """A small network of CIFAR-10's shape in the format of a published file."""

    def write(name=SMALL, form="edm", **options):
        file = tmp_path / f"{name}-{form}.pkl"
        write_snapshot(file, kwargs(name), weights(name), form, **options)
        return file

    return write


@pytest.mark.parametrize("form", ["edm", "sid", "sida"])
def test_a_published_pickle_gives_the_references_denoiser(snapshot, form):
    teacher = EDMCifar10(snapshot(form=form))
    x, sigma, augment = (tensor(SMALL, f"in/{k}") for k in ("x", "sigma", "augment_labels"))
    out = teacher.denoiser(x, sigma, None, augment)
    torch.testing.assert_close(
        out, tensor(SMALL, "out/D_f32"), rtol=0, atol=2e-6 * out.abs().max().item()
    )
    assert not any(p.requires_grad for p in teacher.denoiser.parameters())
    assert not teacher.denoiser.training
    assert "model_channels 16 where 128 was published" in teacher.note


@pytest.mark.parametrize("kind", ["zip", "legacy", "safetensors"])
def test_a_state_dict_in_any_format_is_the_same_network(tmp_path, monkeypatch, kind):
    """Such a file records no architecture: it must hold the teacher's own."""
    file = tmp_path / "weights.bin"
    if kind == "safetensors":
        save_file(weights(SMALL), file)
    else:
        torch.save(weights(SMALL), file, _use_new_zipfile_serialization=kind == "zip")
    with pytest.raises(
        UsageError,
        match=r"does not fit its network of 425 tensors: it lacks .* and \d+ more; it has of another",
    ):
        EDMCifar10(file)
    monkeypatch.setattr(EDMCifar10, "network", config(SMALL))
    teacher = EDMCifar10(file)
    assert all(torch.equal(t, weights(SMALL)[n]) for n, t in teacher.denoiser.state_dict().items())
    assert teacher.note == ""


def test_a_pickle_is_read_once_and_then_its_copy(snapshot, monkeypatch, tmp_path):
    file = snapshot()
    digest = EDMCifar10(file).digest()

    def refuse(path):
        raise AssertionError("the pickle was read again")

    monkeypatch.setattr(checkpoints, "read_checkpoint", refuse)
    moved = file.rename(tmp_path / "elsewhere.pkl")  # the copy goes by content
    assert EDMCifar10(moved).digest() == digest
    monkeypatch.undo()
    copy = next((tmp_path / "cache" / "weights").iterdir())
    content = bytearray(copy.read_bytes())
    content[-1] ^= 1
    copy.write_bytes(content)
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "cache"))
    assert EDMCifar10(moved).digest() == digest  # a damaged copy is made again


def test_a_copy_is_itself_a_weights_file_that_says_its_architecture(snapshot, tmp_path):
    digest = EDMCifar10(snapshot()).digest()
    copy = next((tmp_path / "cache" / "weights").iterdir())
    assert EDMCifar10(copy).digest() == digest


@pytest.mark.parametrize(
    ("teacher", "name", "message"),
    [
        (
            EDMCifar10,
            "ddpmpp_64",
            "makes 3x64x64 images of no classes, this teacher 3x32x32 images of no classes",
        ),
        (EDMCifar10, COND, "images of 10 classes, this teacher 3x32x32 images of no classes"),
        (EDMCifar10Cond, SMALL, "images of no classes, this teacher 3x32x32 images of 10 classes"),
    ],
)
def test_a_network_of_other_images_is_refused(snapshot, teacher, name, message):
    with pytest.raises(UsageError, match=message):
        teacher(snapshot(name))


def test_the_samplers_are_those_of_the_published_numbers():
    for name in registry.teachers.entries():
        teacher = registry.teachers.get(name)
        if teacher.published is not None:
            assert teacher.sampler.nfe == teacher.published.nfe
    assert (EDMCifar10.sampler.nfe, EDMFFHQ64.sampler.nfe, EDMImageNet64.sampler.nfe) == (35, 79, 511)
    assert (EDMImageNet64.sampler.churn, EDMImageNet64.sampler.churn_noise) == (40, 1.003)


def test_augmentation_is_the_teachers_own_and_is_off_for_a_network_that_cannot_be_told(snapshot):
    assert EDMCifar10(snapshot()).augment.probability == 0.12
    assert EDMFFHQ64.augment.probability == 0.15
    assert EDMImageNet64.augment is None


def test_a_run_distils_a_published_file_and_says_what_is_unusual(snapshot, bench):
    file = str(snapshot(COND))
    run = ["run", "--method", "sid", "--teacher", "edm-cifar10-cond", "--teacher-path", file]
    run += ["--budget", "updates=1", "--set", "batch=2", "--eval", "none"]
    err = bench.ok(*run).err
    assert "is not the published network" in err
    code, _, err = bench(*run, "--precision", "fp16")
    assert code == 2
    assert "'fp16' needs a GPU" in err


def test_a_teacher_whose_code_or_facts_change_is_another_run(snapshot, monkeypatch):
    request = make_request(
        method="sid", teacher="edm-cifar10", teacher_path=str(snapshot()), eval=[], budget="updates=1"
    )
    ids = {make_job(request).recipe.run_id}
    for name, value in (
        ("sampler", Sampler(3)),
        ("noise", NoiseLevels(p_mean=0.0)),
        ("augment", AugmentPipe(0.5)),
    ):
        with monkeypatch.context() as change:
            change.setattr(EDMCifar10, name, value)
            ids.add(make_job(request).recipe.run_id)
    assert len(ids) == 4
    assert make_job(request).recipe.run_id in ids
    assert any(path.endswith("networks/song.py") for path in make_job(request).inputs)


def test_an_augmentation_that_is_a_function_makes_no_run_a_new_one(snapshot, monkeypatch):
    """A function has an address for a name, another in every process."""
    request = make_request(
        method="sid", teacher="edm-cifar10", teacher_path=str(snapshot()), eval=[], budget="updates=1"
    )
    ids = set()
    for _ in range(2):
        monkeypatch.setattr(
            EDMCifar10,
            "augment",
            staticmethod(lambda images: (images, images.new_zeros(len(images), 9))),
        )
        ids.add(make_job(request).recipe.run_id)
    assert len(ids) == 1


def test_sigma_data_of_a_file_is_that_of_the_teachers_noise(tmp_path):
    file = tmp_path / "network.pkl"
    write_snapshot(file, kwargs(SMALL) | {"sigma_data": 1.0}, weights(SMALL))
    teacher = EDMCifar10(file)
    assert teacher.denoiser.sigma_data == teacher.noise.sigma_data == 1.0
    assert "sigma_data 1.0 where 0.5 was published" in teacher.note


def test_an_architecture_differs_from_another_only_where_it_does():
    published = EDMImageNet64.network
    spelt_out = published.model_copy(
        update={"num_blocks": 3, "attn_resolutions": [32, 16, 8], "dropout": 0.3}
    )
    assert spelt_out.differs(published) == published.differs(spelt_out) == []
    assert published.model_copy(update={"num_blocks": 2}).differs(published) == [
        "num_blocks 2 where 3 was published"
    ]


def test_a_converted_copy_tells_of_its_wrapper_like_the_file(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(EDMCifar10, "network", config(SMALL))
    torch.save({"ema": weights(SMALL), "step": 3}, tmp_path / "c.pt")
    for _ in range(2):  # the second time from the copy
        tensors._tell.cache_clear()  # as in another process
        EDMCifar10(tmp_path / "c.pt")
        assert capsys.readouterr().err.endswith("c.pt' is read so: the network under 'ema'.\n")


def test_safetensors_are_read_where_they_lie(tmp_path, monkeypatch):
    monkeypatch.setattr(EDMCifar10, "network", config(SMALL))
    save_file(weights(SMALL), tmp_path / "weights.safetensors")
    EDMCifar10(tmp_path / "weights.safetensors")
    assert not (tmp_path / "cache" / "weights").exists()


def test_what_is_wrong_with_the_evaluation_is_said_before_anything_is_downloaded(bench):
    for command, complaint in (
        (
            ["run", "--method", "sid", "--teacher", "edm-cifar10", "--eval", "fidd"],
            "did you mean 'fid'?",
        ),
        (
            ["run", "--method", "sid", "--teacher", "edm-cifar10", "--protocol", "digits-5k"],
            "takes 1x8x8 images",
        ),
        (
            ["eval", "released:sid-cifar10-alpha1.2", "--eval-samples", "5"],
            "'is' needs at least 10 images",
        ),
    ):
        code, _, err = bench(*command)
        assert code == 2
        assert complaint in err


def test_sampling_a_teacher_takes_steps_solver_and_churn(snapshot, bench, tmp_path):
    file, grid = str(snapshot()), tmp_path / "grid.png"
    pictures = []
    for flags, nfe in (
        (["--steps", "2"], 3),
        (["--steps", "2", "--solver", "euler"], 2),
        (["--steps", "2", "--churn", "40"], 3),
    ):
        out = bench.ok(
            "sample", "teacher:edm-cifar10", "--path", file, "-n", "2", "-o", str(grid), *flags
        ).out
        assert f"NFE {nfe}" in out
        pictures.append(grid.read_bytes())
    assert len(set(pictures)) == 3
    with Image.open(grid) as image:
        assert image.mode == "RGB"


@pytest.mark.parametrize(
    ("form", "name"), [("sid", "sid-cifar10-cond-alpha1.2"), ("sida", "sida-cifar10-cond-alpha1.0")]
)
def test_a_released_generator_is_one_call_of_its_network(snapshot, tmp_path, form, name):
    source = open_generator(f"released:{name}", tmp_path, device="cpu", path=str(snapshot(COND, form)))
    assert source.nfe == 1
    images = sample_images(source, range(5, 8))
    z, labels = seeded_noise(range(5, 8), source.teacher.image_spec)
    with torch.no_grad():
        expected = network(COND)(2.5 * z, 2.5, labels)
    torch.testing.assert_close(images, expected, rtol=0, atol=1e-5)


def test_a_released_generator_is_measured_under_a_protocol(snapshot, bench, tmp_path, monkeypatch):
    """Against a folder of its own images the pixel distance is zero; from other seeds it is not."""
    monkeypatch.setattr(
        EDMCifar10, "image_spec", config("adm_cond").image_spec
    )  # 16x16 pixels: fewer dimensions
    file = str(snapshot("adm_cond"))
    source = open_generator("released:sid-cifar10-alpha1.2", tmp_path, device="cpu", path=file)
    folder = tmp_path / "images"
    folder.mkdir()
    for i, image in enumerate(to_uint8(sample_images(source, range(16)))):
        Image.fromarray(image.permute(1, 2, 0).numpy()).save(folder / f"{i:03}.png")
    monkeypatch.setattr(EDMCifar10, "dataset", str(folder))
    common = [
        "eval",
        "released:sid-cifar10-alpha1.2",
        "--path",
        file,
        "--protocol",
        "pixels-5k",
        "--format",
        "json",
    ]
    values = {}
    for repeats in ("1", "2"):  # replicate 0 is seeds 0 to 15
        out = bench.ok(*common, "--eval-samples", "16", "--eval-repeats", repeats).out
        values[repeats] = json.loads(out)["metrics"]["fid"]
    assert values["1"]["value"] == pytest.approx(0, abs=1e-6)
    assert values["2"]["value"] > 1e-4
    assert values["1"]["protocol"] == "pixels-16"


def test_what_is_released_names_a_teacher_and_a_file_of_its_own():
    released = {name: registry.released.get(name) for name in registry.released.entries()}
    assert len(released) == 27
    assert {r.teacher for r in released.values()} <= set(registry.teachers.entries())
    assert len({r.weights.id for r in released.values()}) == len(released)
    assert all(r.weights.url.endswith(r.weights.file) for r in released.values())
    assert released["sid-cifar10-alpha1.2"].weights.sha256.startswith("13cb3be1")
    assert released["dmd2-imagenet64-fid1.28"].sigmas == (80.0,)


@pytest.mark.parametrize(
    "arguments",
    [
        ["show", "teacher", "edm-imagenet64"],
        ["show", "released", "sid-ffhq64-alpha1.2"],
        ["list", "released"],
    ],
)
def test_looking_at_what_is_published_needs_no_network(bench, arguments):
    out = bench.ok(*arguments, "--format", "json").out
    json.loads(out, parse_constant=lambda text: pytest.fail(f"{text} is not JSON"))


def test_a_missing_file_offline_says_where_it_is_and_where_to_put_it(bench):
    code, _, err = bench(
        "run", "--method", "sid", "--teacher", "edm-cifar10", "--eval", "none", "--budget", "updates=1"
    )
    assert code != 0
    assert "edm-cifar10-32x32-uncond-vp.pkl" in err
    assert "https://nvlabs-fi-cdn.nvidia.com/edm/pretrained/" in err
    assert "BENCH_OFFLINE" in err


@pytest.mark.slow
def test_the_full_size_cifar10_network_loads_within_its_memory_and_is_distilled(tmp_path):
    """Random weights in the genuine format, 223 MB: 1.5 GB at the first loading and from the copy,
    then two updates of SiD.
    """
    facts = PUBLISHED["edm-cifar10-32x32-uncond-vp"]
    from teachers.networks.config import NetworkConfig

    torch.manual_seed(0)
    file = tmp_path / "edm-cifar10-32x32-uncond-vp.pkl"
    write_snapshot(
        file, facts["init_kwargs"], NetworkConfig.checked(facts["init_kwargs"], "x").build().state_dict()
    )
    assert file.stat().st_size > 220e6
    script = (
        "import json, sys, torch; from pathlib import Path; from teachers.edm import EDMCifar10;"
        "from bench.environment import peak_memory;"
        "teacher = EDMCifar10(Path(sys.argv[1])); "
        "print(json.dumps([peak_memory(torch.device('cpu')), teacher.note]))"
    )
    for _ in ("its own format", "the verified copy"):
        run = subprocess.run(
            [sys.executable, "-c", script, str(file)], capture_output=True, text=True, check=True
        )
        memory, note = json.loads(run.stdout)
        assert memory < 1.5e9
        assert note == ""
    command = ["run", "--method", "sid", "--teacher", "edm-cifar10", "--teacher-path", str(file)]
    command += ["--budget", "updates=2", "--set", "batch=2", "--eval", "none", "--format", "json"]
    run = subprocess.run(
        [sys.executable, "-m", "bench", *command], capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    record = json.loads(run.stdout)
    assert record["cost"]["updates"] == 2
    assert record["cost"]["flops"] == pytest.approx(2 * 2 * 11 * 42.4e9, rel=0.02)
