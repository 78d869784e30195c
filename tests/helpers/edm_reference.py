"""The reference numbers of EDM's networks (see tests/fixtures/README.md), and our networks with
their weights.
"""

from __future__ import annotations

import json
from functools import cache

import numpy as np
import torch

from bench.plugin import EDMPrecond
from teachers.networks.config import NetworkConfig
from tests.helpers import FIXTURES

CONFIGURATIONS = ["ddpmpp_uncond_aug", "ddpmpp_cond", "ncsnpp_uncond_aug", "adm_cond", "ddpmpp_64"]
PUBLISHED = json.loads((FIXTURES / "edm" / "published_state_dicts.json").read_text())


@cache
def stored(name: str) -> dict[str, np.ndarray]:
    with np.load(FIXTURES / "edm" / f"{name}.npz", allow_pickle=False) as file:
        return dict(file)


def tensor(name: str, key: str, dtype: torch.dtype | None = None) -> torch.Tensor | None:
    value = stored(name).get(key)
    return None if value is None else torch.from_numpy(value).to(dtype or torch.from_numpy(value).dtype)


def config(name: str) -> NetworkConfig:
    return NetworkConfig.checked(json.loads(str(stored(name)["config_json"])), name)


def weights(name: str) -> dict[str, torch.Tensor]:
    return {
        key.removeprefix("state/"): torch.from_numpy(v)
        for key, v in stored(name).items()
        if key.startswith("state/")
    }


def network(name: str, dtype: torch.dtype = torch.float32) -> EDMPrecond:
    made = config(name).build()
    made.load_state_dict(weights(name))
    return made.to(dtype)


def kwargs(name):
    """What its network was constructed with."""
    return json.loads(str(stored(name)["config_json"]))
