"""Training the networks that this project ships, with a description of how each was made."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bench import environment, registry
from bench.errors import Interrupted, UsageError, unknown
from bench.files.atomic import require_writable
from bench.files.tensors import load_sealed, load_tensors, save_sealed, save_tensors, tensors_digest
from bench.plugin.training import Measured, Resumable, Trainable, Training
from bench.runs.events import Note, Observer, Working, ignore
from bench.training.parts import random_state, set_random_state
from bench.training.signals import stop_requests

SECONDS = 30.0
"""Seconds between two states on disk; what is killed loses at most so much."""
CPU = torch.device("cpu")


def trainable(name: str) -> type[Trainable]:
    """Find the teacher or extractor of this name that can be trained. Raises UsageError if there is
    none.
    """
    kinds = [kind for kind in ("teacher", "extractor") if name in registry.REGISTRIES[kind].entries()]
    if not kinds:
        raise unknown(
            "teacher or extractor", name, [*registry.teachers.entries(), *registry.extractors.entries()]
        )
    networks = [
        thing for kind in kinds if issubclass(thing := registry.REGISTRIES[kind].get(name), Trainable)
    ]
    if not networks:
        raise UsageError(
            f"the {kinds[0]} {name!r} is not trained by this suite; it has a closed form or "
            "published weights."
        )
    return networks[0]


def train_network(
    name: str,
    output: Path,
    *,
    seed: int = 0,
    images: int | None = None,
    device: torch.device = CPU,
    observe: Observer = ignore,
) -> str:
    """Train a network, write the weights with their description, and compare them with the shipped
    ones; return a line that says how it went.

    On a CPU one thread computes. The state is kept beside the output until the weights are written: the
    same call goes on where an earlier one was stopped, with the same result, on a CPU to the bit. Raises
    Interrupted once a signal asks to stop, and UsageError beside a state of another training.
    """
    network = trainable(name)
    total = images or network.training_images
    require_writable(output.parent, "folder")
    # The order of additions, and so the last bit, depends on the number of threads.
    torch.set_num_threads(1)
    about = {"training": name, "images": total, "seed": seed, "device": device.type}
    state, started = None, time.perf_counter()
    if issubclass(network, Resumable):
        state = output.with_name(f"{output.name}.state")
        (tensors, measured), seconds = _finish(network, state, about, device, observe)
    elif device.type == "cpu":
        tensors, measured = network.train(total, seed, _teller(name, total, observe))
        seconds = time.perf_counter() - started
    else:
        raise UsageError(f"{name!r} is trained on a CPU, in a minute; leave --device out.")
    how = network.training if issubclass(network, Resumable) else network.train
    digest = tensors_digest(tensors)
    comparison = _against_shipped(network, digest)
    save_tensors(
        output,
        tensors,
        {
            "made_by": f"bench train {name}"
            + (f" --seed {seed}" if seed else "")
            + (f" --images {images}" if images else "")
            + (f" --device {device.type}" if device.type != "cpu" else ""),
            "images": total,
            "seed": seed,
            "training": " ".join((how.__doc__ or "").split()),
            "measured": measured,
            "tensors_sha256": digest,
            "environment": {
                k: environment.describe(device, "fp32")[k]
                for k in ("python", "torch", "device", "threads")
            },
        },
    )
    if state is not None:
        state.unlink(missing_ok=True)
    facts = ", ".join(f"{k.replace('_', ' ')} {v:.4g}" for k, v in measured.items())
    return f"{total:,} images in {seconds:.0f} s, {facts}, sha256 {digest[:16]}{comparison}"


def _teller(name: str, total: int, observe: Observer) -> Callable[[int, float], None]:
    return lambda seen, loss: observe(Working(f"training {name}", seen, total, f"loss {loss:.3f}"))


def _finish(
    network: type[Resumable], state: Path, about: dict[str, Any], device: torch.device, observe: Observer
) -> tuple[tuple[dict[str, Tensor], Measured], float]:
    """Train to the end, from the state on disk if there is one; return the result, and the seconds that it
    took.
    """
    torch.manual_seed(about["seed"])
    training = network.training(about["images"], device)
    before = _resume(training, state, about, device)
    if training.seen:
        observe(Note(f"continuing after {training.seen:,} images"))
    tell = _teller(about["training"], training.images, observe)
    began = saved = time.perf_counter()

    def save() -> None:
        tensors = {f"random.{key}": value for key, value in random_state(device).items()}
        spent = before + time.perf_counter() - began
        save_sealed(state, training.state() | tensors, about | {"seconds": spent})

    with stop_requests("stopping after this update") as stop:
        while not training.is_done:
            training.step()
            if stop.requested:
                save()
                raise Interrupted(
                    f"stopped after {training.seen:,} images; the same command continues from {state}."
                )
            if training.update % 100 == 1:
                tell(training.seen, training.last_loss.item())
            if time.perf_counter() - saved > SECONDS:
                save()
                saved = time.perf_counter()
    return training.result(), before + time.perf_counter() - began


def _resume(training: Training, state: Path, about: dict[str, Any], device: torch.device) -> float:
    """Go back to the state on disk, if there is one; return the seconds that led to it."""
    if not state.exists():
        return 0.0
    tensors, meta = load_sealed(state)
    others = {k: v for k, v in meta.items() if k in about and v != about[k]}
    if others:
        theirs = ", ".join(f"{k} {v}" for k, v in others.items())
        raise UsageError(
            f"{str(state)!r} is the state of another training ({theirs}); give another --output, or "
            "remove it."
        )
    random = {k.removeprefix("random."): t for k, t in tensors.items() if k.startswith("random.")}
    training.load_state({k: t for k, t in tensors.items() if not k.startswith("random.")})
    set_random_state(random, device)
    return float(meta["seconds"])


def _against_shipped(network: type[Trainable], digest: str) -> str:
    if not network.shipped.exists():
        return ""
    shipped = tensors_digest(load_tensors(network.shipped)[0])
    return (
        ", identical to the shipped weights"
        if shipped == digest
        else f", not the shipped weights ({shipped[:16]})"
    )
