"""Weights as training scripts leave them: wrapped, prefixed, in 16 bits; and never guessed."""

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from bench.errors import UsageError
from bench.files.tensors import load_weights, read_weights


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1))


def equal(loaded: nn.Module, to: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(tensor, to[name]) for name, tensor in loaded.state_dict().items())


def prefixed(tensors, prefix):
    return {f"{prefix}{name}": tensor for name, tensor in tensors.items()}


@pytest.mark.parametrize(
    "prefix", ["module.", "_orig_mod.", "unet.", "module._orig_mod.", "_orig_mod.module."]
)
def test_what_wrappers_put_before_every_name_is_taken_away(prefix):
    tensors, loaded = network().state_dict(), nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1))
    load_weights(loaded, prefixed(tensors, prefix), "these")
    assert equal(loaded, tensors)


def test_a_network_whose_own_names_begin_so_keeps_them():
    own = nn.ModuleDict({"module": nn.Linear(2, 2)})
    load_weights(own, {n: torch.ones_like(t) for n, t in own.state_dict().items()}, "these")
    assert own.state_dict().keys() == {"module.weight", "module.bias"}


@pytest.mark.parametrize(
    "tensors", [{}, {"module.": torch.ones(1)}, {"other.0.weight": torch.ones(3, 2)}]
)
def test_names_that_fit_in_no_way_are_refused_as_they_are(tensors):
    with pytest.raises(UsageError, match="does not fit its network of 4 tensors"):
        load_weights(network(), tensors, "these")


def test_a_prefix_before_some_names_alone_is_no_prefix():
    tensors = network().state_dict()
    mixed = {f"module.{n}" if n.startswith("0") else n: t for n, t in tensors.items()}
    with pytest.raises(UsageError, match=r"has too much module.0.weight"):
        load_weights(network(), mixed, "these")


@pytest.mark.parametrize("half", [torch.float16, torch.bfloat16])
def test_numbers_of_16_bits_become_float32(half):
    tensors = {name: tensor.to(half) for name, tensor in network().state_dict().items()}
    loaded = network()
    load_weights(loaded, tensors, "these")
    assert equal(loaded, {name: tensor.float() for name, tensor in tensors.items()})


@pytest.mark.parametrize("name", ["ema", "model", "state_dict"])
def test_a_network_is_found_in_a_training_scripts_checkpoint(tmp_path, name):
    tensors = network().state_dict()
    torch.save({name: tensors, "step": 7, "lr": 0.1, "who": "us"}, tmp_path / "c.pt")
    loaded = network()
    load_weights(loaded, read_weights(tmp_path / "c.pt"), "these")
    assert equal(loaded, tensors)


@pytest.mark.parametrize(
    ("saved", "told"),
    [
        (lambda t: t, ""),
        (lambda t: prefixed(t, "module."), "names without 'module.'."),
        (lambda t: {"ema": t, "step": 7}, "the network under 'ema'."),
        (lambda t: {n: v.half() for n, v in t.items()}, "numbers of 16 bits as float32."),
        (
            lambda t: {"model": prefixed({n: v.bfloat16() for n, v in t.items()}, "_orig_mod.module.")},
            "the network under 'model', names without '_orig_mod.module.', numbers of 16 bits as float32.",
        ),
    ],
)
def test_the_user_is_told_once_which_reading_was_chosen(tmp_path, capsys, saved, told):
    file = tmp_path / "c.pt"
    torch.save(saved(dict(network().state_dict())), file)
    for _ in range(2):
        load_weights(network(), read_weights(file), f"the weights file {str(file)!r}")
    expected = f"note: the weights file {str(file)!r} is read so: {told}\n" if told else ""
    assert capsys.readouterr().err == expected


def test_nothing_is_told_of_weights_that_do_not_fit(tmp_path, capsys):
    with pytest.raises(UsageError, match="does not fit"):
        load_weights(network(), {"module.0.weight": torch.ones(3, 2).half()}, "these")
    assert capsys.readouterr().err == ""


def test_of_several_networks_none_is_chosen(tmp_path):
    tensors = network().state_dict()
    torch.save({"model": tensors, "ema": tensors}, tmp_path / "c.pt")
    with pytest.raises(
        UsageError, match="holds several networks, ema and model; save the one you mean alone"
    ):
        read_weights(tmp_path / "c.pt")


def test_a_tensor_of_such_a_name_is_a_tensor(tmp_path):
    torch.save({"model": torch.ones(2), "ema.weight": torch.ones(1)}, tmp_path / "c.pt")
    assert read_weights(tmp_path / "c.pt").keys() == {"model", "ema.weight"}
    save_file({"model": torch.ones(2)}, tmp_path / "c.safetensors")
    assert read_weights(tmp_path / "c.safetensors").keys() == {"model"}
