"""Training the networks that this project ships, with a description of how each was made."""

import time
from pathlib import Path

import torch

from bench import environment, registry
from bench.errors import UsageError, unknown
from bench.files.atomic import require_writable
from bench.files.tensors import load_tensors, save_tensors, tensors_digest
from bench.plugin.teacher import Trainable
from bench.runs.events import Observer, Working, ignore


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
    name: str, output: Path, *, seed: int = 0, images: int | None = None, observe: Observer = ignore
) -> str:
    """Train on the CPU with one thread, write the weights with their description, and compare them
    with the shipped ones; return a line that says how it went.
    """
    network = trainable(name)
    total = images or network.training_images
    require_writable(output.parent, "folder")
    # The order of additions, and so the last bit, depends on the number of threads.
    torch.set_num_threads(1)

    def tell(seen: int, loss: float) -> None:
        observe(Working(f"training {name}", seen, total, f"loss {loss:.3f}"))

    started = time.perf_counter()
    tensors, measured = network.train(total, seed, tell)
    seconds = time.perf_counter() - started
    digest = tensors_digest(tensors)
    comparison = _against_shipped(network, digest)
    command = (
        f"bench train {name}"
        + (f" --seed {seed}" if seed else "")
        + (f" --images {images}" if images else "")
    )
    save_tensors(
        output,
        tensors,
        {
            "made_by": command,
            "images": total,
            "seed": seed,
            "training": " ".join((network.train.__doc__ or "").split()),
            "measured": measured,
            "tensors_sha256": digest,
            "environment": {
                k: environment.describe(torch.device("cpu"), "fp32")[k]
                for k in ("python", "torch", "device", "threads")
            },
        },
    )
    facts = ", ".join(f"{k.replace('_', ' ')} {v:.4g}" for k, v in measured.items())
    return f"{total:,} images in {seconds:.0f} s, {facts}, sha256 {digest[:16]}{comparison}"


def _against_shipped(network: type[Trainable], digest: str) -> str:
    if not network.shipped.exists():
        return ""
    shipped = tensors_digest(load_tensors(network.shipped)[0])
    return (
        ", identical to the shipped weights"
        if shipped == digest
        else f", not the shipped weights ({shipped[:16]})"
    )
