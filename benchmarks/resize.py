"""The resizes to 299 pixels against those of torch-fidelity and clean-fid, and Inception's whole
extraction.

    python benchmarks/resize.py [--threads 1] [--blocks 9] [--weights FILE]

Blocks of 8 images, as the extractor works on a CPU, alternate between this suite and the peer on
the same uint8 images. Prints Markdown tables of the median milliseconds an image, the median of the
pairwise ratios and the largest difference in levels, then all of it as JSON. With a file of
Inception's weights, the same for images of 32 pixels to features.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from cleanfid.resize import build_resizer
from torch import Tensor
from torch_fidelity.interpolate_compat_tensorflow import interpolate_bilinear_2d_like_tensorflow1x

from evals import resize
from evals.inception import Inception

SIZES = (32, 64, 512)
IMAGES = 8
Extract = Callable[[Tensor], Tensor]


def by_clean_fid(mode: str) -> Extract:
    """clean-fid's resize, one image after another as it does."""
    resizer = build_resizer(mode)
    return lambda images: torch.stack(
        [torch.from_numpy(resizer(x.permute(1, 2, 0).numpy())) for x in images]
    ).permute(0, 3, 1, 2)


def by_torch_fidelity(images: Tensor) -> Tensor:
    """torch-fidelity's resize."""
    return interpolate_bilinear_2d_like_tensorflow1x(
        images.float(), size=(299, 299), align_corners=False
    )


PEERS: dict[str, tuple[resize.Kernel, str, Extract]] = {
    "TensorFlow 1.x": (resize.tensorflow, "torch-fidelity", by_torch_fidelity),
    "clean": (resize.clean, "clean-fid clean", by_clean_fid("clean")),
    "half-pixel": (resize.half_pixel, "clean-fid legacy_pytorch", by_clean_fid("legacy_pytorch")),
}


def compare(own: Extract, peer: Extract, images: Tensor, blocks: int) -> dict[str, float]:
    """Median milliseconds an image of both, the median ratio, and how far the results are apart."""
    difference = (own(images) - peer(images)).abs().max().item()  # and both are warm
    pairs = [(milliseconds(own, images), milliseconds(peer, images)) for _ in range(blocks)]
    return {
        "own_ms": round(statistics.median(o for o, _ in pairs), 3),
        "peer_ms": round(statistics.median(p for _, p in pairs), 3),
        "ratio": round(statistics.median(p / o for o, p in pairs), 2),
        "difference": float(f"{difference:.1e}"),
    }


def milliseconds(function: Extract, images: Tensor) -> float:
    """Of one call, for each image."""
    started = time.perf_counter()
    function(images)
    return 1000 * (time.perf_counter() - started) / len(images)


def main() -> None:
    """Measure, print tables and JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--blocks", type=int, default=9)
    parser.add_argument("--weights", type=Path)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    torch.manual_seed(0)
    rows = []
    with torch.no_grad():
        for size in SIZES:
            images = torch.randint(0, 256, (IMAGES, 3, size, size), dtype=torch.uint8)
            for name, (kernel, peer, by_peer) in PEERS.items():

                def own(images: Tensor, kernel: resize.Kernel = kernel) -> Tensor:
                    return resize.resize(images, kernel)

                rows.append(
                    {"what": f"{name}, {size}", "peer": peer}
                    | compare(own, by_peer, images, given.blocks)
                )
        if given.weights:
            ours = Inception(given.weights)
            theirs = ours.by_others()["torch-fidelity"]
            images = torch.randint(0, 256, (4 * IMAGES, 3, 32, 32), dtype=torch.uint8)
            found = compare(lambda x: ours(x)["pool"], lambda x: theirs(x)["pool"], images, given.blocks)
            rows.append({"what": "Inception, 32", "peer": "torch-fidelity"} | found)
    print(
        "| what, pixels | peer | own ms | peer ms | ratio | largest difference |\n|---|---|---|---|---|---|"
    )
    for row in rows:
        print(
            "| "
            + " | ".join(
                str(row[key]) for key in ("what", "peer", "own_ms", "peer_ms", "ratio", "difference")
            )
            + " |"
        )
    command = f"python benchmarks/resize.py --threads {given.threads} --blocks {given.blocks}"
    print(
        "\n"
        + json.dumps(
            {"command": command, "torch": torch.__version__, "images": IMAGES, "rows": rows}, indent=1
        )
    )


if __name__ == "__main__":
    main()
