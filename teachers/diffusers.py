"""Teachers saved by the library diffusers: pixel-space models of noise, v, images or velocities."""

import hashlib
import json
import re
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from bench.files.assets import offline
from bench.files.tensors import read_weights
from bench.plugin import (
    FlowDenoiser,
    ImageSpec,
    NoiseLevels,
    Sampler,
    Teacher,
    UsageError,
    VPDenoiser,
    load_weights,
    one_line,
    shown,
)

MODEL = "UNet2DModel"
WEIGHTS, HALF_WEIGHTS = (
    "diffusion_pytorch_model.safetensors",
    "diffusion_pytorch_model.fp16.safetensors",
)

VP_SCHEDULERS = (
    "DDIMScheduler",
    "DDPMScheduler",
    "DEISMultistepScheduler",
    "DPMSolverMultistepScheduler",
    "DPMSolverSinglestepScheduler",
    "EulerAncestralDiscreteScheduler",
    "EulerDiscreteScheduler",
    "HeunDiscreteScheduler",
    "PNDMScheduler",
    "UniPCMultistepScheduler",
)
"""Schedulers of the variance-preserving process, whose levels they call ``alphas_cumprod``."""
FLOW_SCHEDULERS = ("FlowMatchEulerDiscreteScheduler", "FlowMatchHeunDiscreteScheduler")
OTHER_TIMES = {"timestep_type": "continuous", "use_flow_sigmas": True, "invert_sigmas": True}
"""Options with which the times of a scheduler have another meaning."""

NETWORK_RANGES = {
    "attention_head_dim": (1, 2048),
    "block_out_channels": (1, 2048),
    "in_channels": (1, 32),
    "layers_per_block": (1, 16),
    "norm_num_groups": (1, 2048),
    "num_class_embeds": (1, 100_000),
    "out_channels": (1, 32),
    "sample_size": (4, 1024),
}
"""Ranges of arguments with which a network would grow without end; pixel-space models stay inside."""
SCHEDULER_RANGES = {"num_train_timesteps": (1, 10_000), "solver_order": (1, 10)}
"""Ranges of a scheduler's arguments; some compute in the square of the first when they are made."""
LISTS = ("block_out_channels", "sample_size")
MOST_ENTRIES = 8
CONFIGURATION_BYTES = 2**20

OLD_NAMES = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}
"""Earlier names of attention layers, in weights saved before 2023 such as those of the CIFAR-10 DDPM."""


class DiffusersTeacher(Teacher):
    """A pixel-space model of the library diffusers: ``diffusers:FOLDER`` or ``diffusers:REPOSITORY``.

    REPOSITORY is on the library's hub, whose own cache keeps downloads; with ``BENCH_OFFLINE=1``
    only that cache is used. FOLDER holds a pipeline, or a UNet2DModel with its
    scheduler_config.json. Only JSON and safetensors files are read. The scheduler defines the
    process; its steps and its clipping of images are not used. Image size, noise levels and digest
    are known once the teacher is loaded; its data set and protocol are not known.
    """

    sampler = Sampler()
    dataset = None
    protocol = None
    takes_source = True
    known_before_loading = False

    @property
    def image_spec(self) -> ImageSpec:  # type: ignore[override]  # of each model, not of the class
        return self._image_spec

    @property
    def noise(self) -> NoiseLevels:  # type: ignore[override]
        return self._noise

    def load(self, path: Path | None) -> nn.Module:
        if not self.source:
            raise UsageError(
                "the teacher 'diffusers' needs a model; name one as diffusers:FOLDER or diffusers:REPOSITORY."
            )
        folder = _snapshot(self.source, "*.json")
        files = _configuration_files(folder, self.source)
        network, process = map(_read_json, files)
        if network.get("_class_name") != MODEL:
            raise UsageError(
                f"the network of {self.source!r} is a {one_line(network.get('_class_name'), 60)}; only "
                f"{MODEL} can be a teacher."
            )
        _check_ranges(network, NETWORK_RANGES, f"the network of {self.source!r}")
        _check_ranges(process, SCHEDULER_RANGES, f"the scheduler of {self.source!r}")
        unet = _build(MODEL, network, on_meta=True)  # nothing grows larger than the weights
        self._image_spec = _image_spec(unet.config, self.source)
        labelled = LabelledUNet(unet, self._image_spec.label_dim)
        denoiser = _denoiser(labelled, process, self.source)
        weights = [path] if path else _weights(folder, files[0].parent, self.source)
        # Some are published in float16.
        tensors = {
            _new_name(name): tensor.float()
            for file in weights
            for name, tensor in read_weights(file).items()
        }
        load_weights(unet, tensors, f"the weights file {str(weights[0])!r}")
        if any(buffer.is_meta for buffer in unet.buffers()):  # of filters that are in no file
            labelled.unet = _build(MODEL, network)
            labelled.unet.load_state_dict(tensors)
        if not _is_folder(self.source):
            self.note = f"commit {folder.name} of {self.source}"
        self._noise, self.files = denoiser.noise, (*files, *weights)
        self._settings = json.dumps([_identity(network), _identity(process)], sort_keys=True)
        return denoiser

    def digest(self) -> str:
        """Return the SHA-256 of the weights and both configurations, since the schedule matters too."""
        return hashlib.sha256((super().digest() + self._settings).encode()).hexdigest()


class LabelledUNet(nn.Module):
    """A UNet2DModel as ``model(x, t, labels)``, with one-hot labels (N, label_dim)."""

    def __init__(self, unet: nn.Module, label_dim: int) -> None:
        super().__init__()
        self.unet, self.label_dim = unet, label_dim

    def forward(self, x: Tensor, t: Tensor, labels: Tensor | None = None) -> Tensor:
        if not self.label_dim:
            return self.unet(x, t, return_dict=False)[0]
        if labels is None:
            raise UsageError(
                f"this model knows {self.label_dim} classes, and no labels were given; give one-hot labels."
            )
        return self.unet(x, t, labels.argmax(1), return_dict=False)[0]


def _library() -> Any:
    try:
        import diffusers  # here: an optional dependency that takes seconds to import
    except ImportError as error:
        raise UsageError(
            f"the teacher 'diffusers' needs the library diffusers ({error}); pip install "
            "'distill-bench[diffusers]'."
        ) from None
    return diffusers


def _is_folder(source: str) -> bool:
    return Path(source).expanduser().is_dir()


def _snapshot(source: str, pattern: str, revision: str | None = None) -> Path:
    """Return the folder ``source``, or the one of a hub repository, downloading files by ``pattern``."""
    if _is_folder(source):
        return Path(source).expanduser()
    _library()
    from huggingface_hub import snapshot_download  # here: comes with the optional diffusers

    try:
        return Path(
            snapshot_download(
                source, revision=revision, allow_patterns=[pattern], local_files_only=offline()
            )
        )
    except (OSError, ValueError) as error:  # the hub's errors are of these kinds
        why = (
            "BENCH_OFFLINE=1 and the hub's cache does not have it"
            if offline()
            else str(error).partition("\n")[0]
        )
        raise UsageError(
            f"{source!r} is neither a folder nor a repository that the hub gives ({why}); give "
            "diffusers:FOLDER or diffusers:REPOSITORY."
        ) from None


def _configuration_files(folder: Path, source: str) -> tuple[Path, Path]:
    """Find the configurations of network and scheduler, each in its own folder or all in one."""
    index = _read_json(folder / "model_index.json") if (folder / "model_index.json").is_file() else {}
    latent = [name for name in ("vae", "vqvae", "movq") if index.get(name) not in (None, [None, None])]
    if latent:
        raise UsageError(
            f"{source!r} works in the latents of its {latent[0]!r}; give a model of the images themselves."
        )
    return (
        _first(folder, source, "config.json", "unet", "transformer"),
        _first(folder, source, "scheduler_config.json", "scheduler"),
    )


def _first(folder: Path, source: str, file: str, *parts: str) -> Path:
    """Find ``file`` in one of the ``parts`` of ``folder``, or in ``folder`` itself."""
    places = [folder / part / file for part in (*parts, "")]
    for place in places:
        if place.is_file():
            return place
    names = ", ".join(str(place.relative_to(folder)) for place in places)
    raise UsageError(
        f"{source!r} has no {file}, looked for at {names}; give what diffusers' save_pretrained wrote."
    )


def _weights(folder: Path, model: Path, source: str) -> list[Path]:
    """Return the safetensors files of the network in the folder ``model`` below ``folder``, as
    save_pretrained writes them: one, shards with their index, or the variant in float16. They are
    downloaded if needed.
    """

    def find(name: str) -> Path:
        place = (model / name).relative_to(folder)
        file = model / name
        return file if file.is_file() else _snapshot(source, str(place), revision=folder.name) / place

    if (whole := find(WEIGHTS)).is_file():
        return [whole]
    if (index := find(f"{WEIGHTS}.index.json")).is_file():
        shards = _read_json(index).get("weight_map")
        names = {*shards.values()} if isinstance(shards, dict) else set()
        if not names or not all(
            isinstance(n, str) and re.fullmatch(r"[\w.-]+\.safetensors", n) for n in names
        ):
            raise UsageError(f"the index {str(index)!r} names no files beside it; save the model again.")
        return [find(name) for name in sorted(names)]
    if (halves := find(HALF_WEIGHTS)).is_file():
        return [halves]
    raise UsageError(
        f"{source!r} has neither {WEIGHTS} nor {HALF_WEIGHTS} beside its network's config.json, and "
        "pickled weights (.bin) are not taken from there; give a file of them by --teacher-path, which "
        "reads them without running them."
    )


def _read_json(file: Path) -> dict[str, Any]:
    try:
        with file.open("rb") as opened:
            text = opened.read(CONFIGURATION_BYTES + 1)
        if len(text) > CONFIGURATION_BYTES:
            raise ValueError(f"it is larger than {CONFIGURATION_BYTES:,} bytes")
        content = json.loads(text)
    except (OSError, ValueError, RecursionError, MemoryError) as error:
        why = one_line(error) or type(error).__name__
        raise UsageError(
            f"the configuration {str(file)!r} cannot be read ({why}); save the model again."
        ) from None
    if not isinstance(content, dict):
        raise UsageError(f"the configuration {str(file)!r} holds no JSON object; save the model again.")
    return content


def _check_ranges(config: dict[str, Any], ranges: dict[str, tuple[int, int]], what: str) -> None:
    """Raise UsageError unless the integers of a configuration lie in ``ranges`` or are absent."""
    for name, (low, high) in ranges.items():
        value = config.get(name)
        values = value if name in LISTS and isinstance(value, list) else [value]
        odd = [v for v in values if type(v) is not int or not low <= v <= high]
        if value is not None and (odd or not 1 <= len(values) <= MOST_ENTRIES):
            wrong = shown(odd[0]) if odd else f"{len(values):,} times"
            several = f", or 1 to {MOST_ENTRIES} of them" if name in LISTS else ""
            raise UsageError(
                f"{what} has {name} {wrong}, expected an integer from {low} to {high:,}{several}; "
                "save the model again."
            )


def _build(name: str, config: dict[str, Any], *, on_meta: bool = False) -> Any:
    """Build an object of diffusers' class ``name``, one of the names in this file."""
    try:
        with torch.device("meta") if on_meta else nullcontext():
            return getattr(_library(), name).from_config(config)
    except (
        ArithmeticError,
        AttributeError,
        LookupError,
        MemoryError,
        NotImplementedError,
        RuntimeError,
        TypeError,
        ValueError,
    ) as error:
        why = one_line(error) or type(error).__name__
        raise UsageError(
            f"diffusers cannot build a {name} from its configuration ({why}); save the model again."
        ) from None


def _image_spec(config: Any, source: str) -> ImageSpec:
    """Return the size of the network's images and the number of its classes."""
    size = config.sample_size
    sizes = {size} if isinstance(size, int) else set(size or ())
    channels, out, times, classes = (
        config.in_channels,
        config.out_channels,
        config.time_embedding_type,
        config.class_embed_type,
    )
    unfit = {
        f"images of size {size}, expected one square": len(sizes) != 1,
        f"{channels} channels in and {out} out, expected as many or twice as many": out
        not in (channels, 2 * channels),
        f"time_embedding_type {shown(times)}, expected 'positional'": times != "positional",
        f"class_embed_type {shown(classes)}, expected none or class indices": classes is not None,
    }
    for reason, applies in unfit.items():
        if applies:
            raise UsageError(
                f"the network of {source!r} has {reason}; such a model cannot be a teacher."
            )
    return ImageSpec(channels, sizes.pop(), config.num_class_embeds or 0)


def _denoiser(network: nn.Module, config: dict[str, Any], source: str) -> VPDenoiser | FlowDenoiser:
    """Adapt the network to an EDM denoiser, by the process of its scheduler."""
    name = config.get("_class_name")
    for option, value in OTHER_TIMES.items():
        if config.get(option) == value:
            raise UsageError(
                f"the {one_line(name, 60)} of {source!r} has {option}={value}, by which times mean "
                "something else; it cannot be used."
            )
    if name in FLOW_SCHEDULERS:
        return FlowDenoiser(network, time_scale=config.get("num_train_timesteps", 1000))
    if name not in VP_SCHEDULERS:
        raise UsageError(
            f"the scheduler of {source!r} is a {one_line(name, 60)}; expected one of "
            f"{', '.join(VP_SCHEDULERS + FLOW_SCHEDULERS)}."
        )
    betas = config.get("trained_betas")
    most = SCHEDULER_RANGES["num_train_timesteps"][1]
    if isinstance(betas, list) and len(betas) > most:
        raise UsageError(
            f"the scheduler of {source!r} has {len(betas):,} trained_betas, expected at most "
            f"{most:,}; save it again."
        )
    scheduler = _build(name, config)
    alphas = scheduler.alphas_cumprod.clone()
    if config.get("rescale_betas_zero_snr"):
        alphas[-1] = 0  # some schedulers write 2^-24, above the level before
    return VPDenoiser(network, alphas, scheduler.config.prediction_type)


def _new_name(tensor: str) -> str:
    """Return the present name of a tensor: the layer before its last part may have an earlier one."""
    *path, kind = tensor.split(".")
    return ".".join([*path[:-1], *(OLD_NAMES.get(layer, layer) for layer in path[-1:]), kind])


def _identity(config: dict[str, Any]) -> dict[str, Any]:
    """Return a configuration without the entries that only say who wrote it."""
    return {
        key: value for key, value in config.items() if key not in ("_diffusers_version", "_name_or_path")
    }
