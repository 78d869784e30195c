"""Files of the genuine format of EDM snapshots and of SiD and SiDA generators, pickled from
stand-ins for the classes of those.

The pickler and torch write them as they write any file; the modules that the streams name exist
only while they do. Equal arguments give equal bytes. Nothing here is copied from, or needs, the
reference implementation.
"""

from __future__ import annotations

import contextlib
import io
import pickle
import re
import struct
import sys
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

Form = Literal["edm", "sid", "sida"]
NUMPY_SCALAR = {1: "numpy.core.multiarray", 2: "numpy._core.multiarray"}
OLD_TORCH = [
    "_backward_hooks",
    "_is_full_backward_hook",
    "_forward_hooks",
    "_forward_pre_hooks",
    "_state_dict_hooks",
]
OLD_TORCH += ["_load_state_dict_pre_hooks", "_load_state_dict_post_hooks"]
"""What torch 1.12 keeps in a module besides its parameters, buffers and modules."""
BUFFERS = ("resample_filter", "freqs")
LARGE = 1024
"""Bytes; what is at least this large is a storage, which no stream refers to twice."""


def _reconstruct_persistent_obj(meta: dict[str, Any]) -> None:
    raise AssertionError("a snapshot was unpickled")


def scalar(dtype: Any, value: bytes) -> None:
    raise AssertionError("a snapshot was unpickled")


class EasyDict(dict[str, Any]):
    """Stands in for the dict whose keys are attributes."""


class Persistent:
    """Stands in for an object that carries the source text of its class."""

    def __init__(self, class_name: str, source: str, state: dict[str, Any]) -> None:
        self.class_name, self.source, self.state = class_name, source, state

    def __reduce__(self) -> tuple[Any, ...]:
        meta = {
            "type": "class",
            "version": 6,
            "module_src": self.source,
            "class_name": self.class_name,
            "state": self.state,
        }
        return _reconstruct_persistent_obj, (meta,)


def write_snapshot(
    path: Path,
    kwargs: Mapping[str, Any],
    tensors: Mapping[str, Tensor],
    form: Form = "edm",
    *,
    protocol: int = 4,
    numpy: int = 2,
    old_torch: bool = False,
    hooks: tuple[str, ...] = (),
    easy_dict: bool = False,
    source_bytes: int = 36_000,
) -> None:
    """Write the network with these EDMPrecond arguments and this state dict.

    Args:
        path: where to.
        kwargs: as in section 7 of the specification, ``model_type`` without a suffix.
        tensors: by state-dict name, in order; one at a time is copied.
        form: EDM has a loss, an augmentation pipe and data set arguments besides the network; SiDA
            other names of classes.
        protocol: 3 to 5; 2 cannot hold bytes without a call.
        numpy: the major version, which names the function that makes scalars.
        old_torch: OrderedDicts, and the hooks of torch 1.12 instead of the installed version's.
        hooks: further empty OrderedDicts in the state of every module.
        easy_dict: whether dataset_kwargs is an EasyDict.
        source_bytes: length of the texts of the modules.
    """
    network = _Network(dict(kwargs), form, old_torch, hooks, source_bytes)
    snapshot: dict[str, Any] = {"ema": network.precond(_tree(tensors))}
    if form == "edm":
        snapshot |= _training_objects(network, source_bytes, EasyDict if easy_dict else dict)
    with path.open("wb") as file, _installed(numpy):
        _Pickler(file, protocol, numpy).dump(snapshot)


def _tree(tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """Nested dicts from dotted names."""
    root: dict[str, Any] = {}
    for name, tensor in tensors.items():
        *parents, leaf = map(sys.intern, name.split("."))
        node = root
        for parent in parents:
            node = node.setdefault(parent, {})
        node[leaf] = tensor
    return root


class _Network:
    """Makes the objects of a network; a class is told by the name of the module, its arguments by
    the shapes of its tensors.
    """

    def __init__(
        self,
        kwargs: dict[str, Any],
        form: Form,
        old_torch: bool,
        hooks: tuple[str, ...],
        source_bytes: int,
    ) -> None:
        self.kwargs, self.old_torch, self.hooks = kwargs, old_torch, hooks
        self.suffix = "_EncoderDecoder" if form == "sida" else ""
        self.source = _source("networks" + self.suffix, source_bytes)
        self.block_source = _source("networks", source_bytes) if form == "sida" else self.source
        self.adm = kwargs.get("model_type", "DhariwalUNet") == "DhariwalUNet"
        self.resample_filter = kwargs.get("resample_filter", [1, 1])
        self.skip_scale = 1 if self.adm else np.sqrt(0.5)
        zero = {
            "init_mode": "kaiming_uniform" if self.adm else "xavier_uniform",
            "init_weight": 0 if self.adm else 1e-5,
        }
        self.init = {"init_mode": zero["init_mode"]} | (
            {"init_weight": np.sqrt(1 / 3), "init_bias": np.sqrt(1 / 3)} if self.adm else {}
        )
        self.block_init = {"init": self.init, "init_zero": zero}
        if not self.adm:
            self.block_init["init_attn"] = {"init_mode": "xavier_uniform", "init_weight": np.sqrt(0.2)}

    def precond(self, tree: dict[str, Any]) -> Persistent:
        recorded = self.kwargs | (
            {"model_type": self.kwargs["model_type"] + self.suffix} if self.suffix else {}
        )
        interface = ["img_resolution", "img_channels", "label_dim"]
        recorded = {k: v for k, v in recorded.items() if k not in interface} | {
            k: recorded[k] for k in interface if k in recorded
        }
        defaults = {
            "label_dim": 0,
            "use_fp16": False,
            "sigma_min": 0,
            "sigma_max": float("inf"),
            "sigma_data": 0.5,
        }
        attributes = {
            k: recorded.get(k, default)
            for k, default in (dict.fromkeys(interface[:2]) | defaults).items()
        }
        modules = {name: self.unet(child) for name, child in tree.items()}
        return self.module("EDMPrecond" + self.suffix, self.source, {}, modules, attributes, recorded)

    def unet(self, tree: dict[str, Any]) -> Persistent:
        made: dict[str, Any] = {"map_noise": self.noise(tree.get("map_noise"))}
        attributes: dict[str, Any] = {"label_dropout": self.kwargs.get("label_dropout", 0)}
        attributes |= {name: None for name in ("map_label", "map_augment") if name not in tree}
        for name, child in tree.items():
            if name in ("enc", "dec"):
                made[name] = self.module_dict(
                    {key: self.entry(key, below) for key, below in child.items()}
                )
            elif name != "map_noise":
                made[name] = self.layer(name, child)
        skip = ("model_type", "img_channels", "use_fp16", "sigma_min", "sigma_max", "sigma_data")
        own = {k: v for k, v in self.kwargs.items() if k not in skip}
        channels = dict.fromkeys(("in_channels", "out_channels"), self.kwargs["img_channels"])
        name = self.kwargs.get("model_type", "DhariwalUNet") + self.suffix
        return self.module(name, self.source, {}, made, attributes, channels | own)

    def noise(self, tree: dict[str, Any] | None) -> Persistent:
        channels = self.kwargs.get("model_channels", 128) * self.kwargs.get("channel_mult_noise", 1)
        if tree:
            return self.module(
                "FourierEmbedding", self.block_source, tree, {}, {}, {"num_channels": channels}
            )
        attributes = {"num_channels": channels, "max_positions": 10000, "endpoint": not self.adm}
        own = {"num_channels": channels} | ({} if self.adm else {"endpoint": True})
        return self.module("PositionalEmbedding", self.block_source, {}, {}, attributes, own)

    def entry(self, name: str, tree: dict[str, Any]) -> Persistent:
        """An entry of the encoder or the decoder."""
        return (
            self.block(name, tree)
            if any(isinstance(child, dict) for child in tree.values())
            else self.layer(name, tree)
        )

    def block(self, name: str, tree: dict[str, Any]) -> Persistent:
        modules = {child: self.layer(child, below, name) for child, below in tree.items()}
        out = len(tree["conv0"]["weight"])
        attributes = {
            "in_channels": len(tree["norm0"]["weight"]),
            "out_channels": out,
            "emb_channels": tree["affine"]["weight"].shape[1],
            "num_heads": 0 if "qkv" not in tree else out // 64 if self.adm else 1,
            "dropout": self.kwargs.get("dropout", 0.10),
            "skip_scale": self.skip_scale,
            "adaptive_scale": self.adm,
        }
        own = (
            {k: v for k, v in attributes.items() if k != "num_heads"}
            | {"eps": 1e-5 if self.adm else 1e-6}
            | self.block_init
        )
        if "skip" not in tree:
            attributes["skip"] = None
        if name.endswith(("_up", "_down")):
            own[name.rsplit("_", 1)[1]] = True
        if not self.adm:
            own |= {"num_heads": 1, "resample_filter": self.resample_filter, "resample_proj": True}
        return self.module("UNetBlock", self.block_source, {}, modules, attributes, own)

    def layer(self, name: str, tree: dict[str, Any], block: str = "") -> Persistent:
        weight: Any = tree.get("weight")
        attributes: dict[str, Any]
        if "norm" in name:
            attributes = {"num_groups": min(32, len(weight) // 4), "eps": 1e-5 if self.adm else 1e-6}
            own = {"num_channels": len(weight), "eps": attributes["eps"]}
            return self.module("GroupNorm", self.block_source, tree, {}, attributes, own)
        sizes = dict(zip(("out", "in"), weight.shape[:2] if weight is not None else (0, 0), strict=True))
        if name == "affine" or name.startswith("map_"):
            attributes = {"in_features": sizes["in"], "out_features": sizes["out"]}
            own = attributes | self.init | ({} if "bias" in tree else {"bias": False})
            return self.module(
                "Linear", self.block_source, tree, {}, attributes | _absent(tree, "bias"), own
            )
        resampled = "resample_filter" in tree
        attributes = {"in_channels": sizes["in"], "out_channels": sizes["out"]}
        attributes |= {
            "up": resampled and block.endswith("_up"),
            "down": resampled and not block.endswith("_up"),
        }
        own = attributes | {"kernel": 0 if weight is None else weight.shape[-1]} | self.init
        attributes |= {"fused_resample": name.endswith("aux_residual")} | _absent(tree, "weight", "bias")
        if resampled:
            own |= {"resample_filter": self.resample_filter}
        return self.module(
            "Conv2d", self.block_source, {"resample_filter": None} | tree, {}, attributes, own
        )

    def module_dict(self, modules: dict[str, Any]) -> nn.ModuleDict:
        made = nn.ModuleDict.__new__(nn.ModuleDict)
        vars(made).update(self.state({}, modules))
        return made

    def module(
        self,
        name: str,
        source: str,
        tree: dict[str, Any],
        modules: dict[str, Any],
        attributes: dict[str, Any],
        own: dict[str, Any],
    ) -> Persistent:
        return Persistent(
            name,
            source,
            self.state(tree, modules) | attributes | {"_init_args": (), "_init_kwargs": own},
        )

    def state(self, tree: dict[str, Any], modules: dict[str, Any]) -> dict[str, Any]:
        """The attributes that torch gives to a module."""
        kind = OrderedDict if self.old_torch else dict
        parameters = {
            k: nn.Parameter(v, requires_grad=False) for k, v in tree.items() if k not in BUFFERS
        }
        buffers = {k: v for k, v in tree.items() if k in BUFFERS}
        state: dict[str, Any] = {
            "training": False,
            "_parameters": kind(parameters),
            "_buffers": kind(buffers),
        }
        state["_non_persistent_buffers_set"] = set()
        others = (
            OLD_TORCH
            if self.old_torch
            else [k for k in vars(nn.Module()) if k not in state and k != "_modules"]
        )
        state |= {
            k: None if k == "_is_full_backward_hook" else OrderedDict() for k in (*others, *self.hooks)
        }
        return state | {"_modules": kind(modules)}


def _absent(tree: dict[str, Any], *names: str) -> dict[str, None]:
    return {name: None for name in names if name not in tree}


def _training_objects(
    network: _Network, source_bytes: int, kind: type[dict[str, Any]]
) -> dict[str, Any]:
    """What an EDM snapshot has besides the network."""
    loss = {"P_mean": -1.2, "P_std": 1.2, "sigma_data": 0.5, "_init_args": (), "_init_kwargs": {}}
    augmentations = {
        "xflip": 1e8,
        "yflip": 1,
        "scale": 1,
        "rotate_frac": 1,
        "aniso": 1,
        "translate_frac": 1,
    }
    others = ["rotate_int", "translate_int", "brightness", "contrast", "lumaflip", "hue", "saturation"]
    ranges = {
        "translate_int_max": 0.125,
        "scale_std": 0.2,
        "rotate_frac_max": 1,
        "aniso_std": 0.2,
        "aniso_rotate_prob": 0.5,
    }
    ranges |= {
        "translate_frac_std": 0.125,
        "brightness_std": 0.2,
        "contrast_std": 0.5,
        "hue_max": 1,
        "saturation_std": 1,
    }
    pipe: dict[str, Any] = {
        k: float(v) for k, v in ({"p": 0.12} | augmentations | dict.fromkeys(others, 0) | ranges).items()
    }
    pipe |= {"_init_args": (), "_init_kwargs": {"p": 0.12} | augmentations}
    augmented = network.kwargs.get("augment_dim", 0) > 0
    resolution = network.kwargs["img_resolution"]
    dataset: dict[str, Any] = {
        "class_name": "training.dataset.ImageFolderDataset",
        "path": f"datasets/images-{resolution}x{resolution}.zip",
    }
    dataset |= {"use_labels": network.kwargs.get("label_dim", 0) > 0, "xflip": False, "cache": True}
    return {
        "loss_fn": Persistent("EDMLoss", _source("loss", source_bytes), loss),
        "augment_pipe": Persistent("AugmentPipe", _source("augment", source_bytes), pipe)
        if augmented
        else None,
        "dataset_kwargs": kind(dataset | {"resolution": resolution, "max_size": 50_000}),
    }


def _source(name: str, length: int) -> str:
    """A text that, executed, would fail a test."""
    text = f'"""In place of the text of {name}."""\nraise AssertionError("the source in a snapshot was executed")\n'
    return text + "#" * max(0, length - len(text))


class _Pickler(pickle._Pickler):  # the one whose memo can be told to let go
    """Python's own, holding no storage in memory once it is written, and with keys of storages that
    are not addresses.
    """

    def __init__(self, file: Any, protocol: int, numpy: int) -> None:
        super().__init__(file, protocol)
        self.renamed = NUMPY_SCALAR[numpy] != _native_scalar()
        self.keys = 0

    def reducer_override(self, value: Any) -> Any:
        if isinstance(value, torch.storage.TypedStorage):
            self.keys += 1
            return torch.storage._load_from_bytes, (
                _legacy(value, str(94_000_000_000_000 + 64 * self.keys)),
            )
        if isinstance(value, np.generic) and self.renamed:
            return scalar, (value.dtype, value.tobytes())
        return NotImplemented

    def memoize(self, value: Any) -> None:
        """Number the value; a storage is numbered and forgotten."""
        inner = value[0] if isinstance(value, tuple) and len(value) == 1 else value
        large = isinstance(inner, bytes) and len(inner) >= LARGE
        super().memoize(_Forgotten() if large else value)  # type: ignore[misc]  # not in the stubs


class _Forgotten:
    """Takes the place of a storage in the memo."""


def _legacy(storage: Any, key: str) -> bytes:
    """The stream that torch writes for one storage, with ``key`` for its address."""
    buffer = io.BytesIO()
    torch.save(storage, buffer, _use_new_zipfile_serialization=False)
    written = buffer.getvalue()
    address = re.search(rb"X(.{4})(\d+)q.X\x03\x00\x00\x00cpu", written[:LARGE], re.DOTALL)
    assert address and struct.unpack("<I", address[1])[0] == len(address[2])

    def text(name: bytes) -> bytes:
        return b"X" + struct.pack("<I", len(name)) + name

    head = written[:LARGE].replace(text(address[2]), text(key.encode()))
    return head + memoryview(written)[LARGE:]


def _native_scalar() -> str:
    """Where the installed numpy has the function that makes scalars."""
    reduced: Any = np.float64(0).__reduce__()
    return str(reduced[0].__module__)


@contextlib.contextmanager
def _installed(numpy: int) -> Iterator[None]:
    """The modules that a stream names, while it is written."""
    names: dict[str, list[Any]] = {
        "torch_utils": [],
        "torch_utils.persistence": [_reconstruct_persistent_obj],
    }
    names |= {"dnnlib": [], "dnnlib.util": [EasyDict]}
    if NUMPY_SCALAR[numpy] != _native_scalar():
        names[NUMPY_SCALAR[numpy]] = [scalar]
    before = {name: sys.modules.get(name) for name in names}
    homes = {value: value.__module__ for values in names.values() for value in values}
    try:
        for name, values in names.items():
            sys.modules[name] = ModuleType(name)
            for value in values:
                value.__module__ = name
                setattr(sys.modules[name], value.__name__, value)
        yield
    finally:
        for name, module in before.items():
            if module is None:
                del sys.modules[name]
            else:
                sys.modules[name] = module
        for value, home in homes.items():
            value.__module__ = home
