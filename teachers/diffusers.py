"""Teachers saved by the library diffusers: pixel-space models of noise, v, images or velocities."""

import hashlib
import json
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from bench.files.state_dicts import StateDict
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
from teachers.files.pipelines import (
    configuration_files,
    is_folder,
    library,
    read_configuration,
    snapshot,
    weights_files,
)

MODEL = "UNet2DModel"
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
    def image_spec(self) -> ImageSpec:  # of each model, not of the class
        return self._image_spec

    @image_spec.setter
    def image_spec(self, spec: ImageSpec) -> None:
        self._image_spec = spec

    @property
    def noise(self) -> NoiseLevels:  # type: ignore[override]
        return self._noise

    def load(self, path: Path | None) -> nn.Module:
        if not self.source:
            raise UsageError(
                "the teacher 'diffusers' needs a model; name one as diffusers:FOLDER or diffusers:REPOSITORY."
            )
        folder = snapshot(self.source, "*.json")
        files = configuration_files(folder, self.source)
        network, process = map(read_configuration, files)
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
        weights = [path] if path else weights_files(folder, files[0].parent, self.source)
        where, parts = f"the weights file {str(weights[0])!r}", [read_weights(file) for file in weights]
        tensors = StateDict(
            {_new_name(name): tensor for part in parts for name, tensor in part.items()},
            getattr(parts[0], "wrapper", ""),
        )
        load_weights(unet, tensors, where)
        if any(buffer.is_meta for buffer in unet.buffers()):  # of filters that are in no file
            labelled.unet = _build(MODEL, network)
            load_weights(labelled.unet, tensors, where)
        if not is_folder(self.source):
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
            return getattr(library(), name).from_config(config)
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
