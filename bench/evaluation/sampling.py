"""From seeds to images: noise and label of each image come from its own seed alone."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from numbers import Integral

import torch
from torch import Tensor
from torch.nn import functional as F

from bench.errors import BenchError, Diverged, UsageError, shown
from bench.factory import ImageGenerator
from bench.plugin.diffusion import fork_rng
from bench.plugin.images import ImageSpec, to_uint8
from bench.plugin.method import Generate
from bench.plugin.sampler import Draw
from bench.runs.events import Observer, Working, ignore

FEWEST = 8
"""Images computed at once at the least: kernels add up a few rows in another order, which last bits
would show.
"""

Images = Callable[[range], Tensor]
"""Uint8 images (N, C, H, W) of these seeds, or of these places in a data set."""


def seeded_noise(
    seeds: range, image_spec: ImageSpec, device: torch.device | None = None
) -> tuple[Tensor, Tensor | None]:
    """Draw noise (N, C, H, W) and one-hot labels (N, label_dim) or None, each image's from its own
    seed: on the CPU, and from there to the device.

    As in EDM's ``generate.py``: one generator per seed draws the noise and then a uniform class.
    The images therefore do not depend on the batch size, the number of devices or the order.
    """
    z = torch.empty(len(seeds), *image_spec.shape)
    classes = torch.empty(len(seeds), dtype=torch.int64)
    generator = torch.Generator()
    for i, seed in enumerate(seeds):
        generator.manual_seed(seed)
        torch.randn(image_spec.shape, generator=generator, out=z[i])
        if image_spec.label_dim:
            torch.randint(image_spec.classes, (1,), generator=generator, out=classes[i : i + 1])
    labels = F.one_hot(classes, image_spec.label_dim).float() if image_spec.label_dim else None
    return z.to(device), None if labels is None else labels.to(device)


def seeded_draw(seeds: range, image_spec: ImageSpec, device: torch.device) -> Draw:
    """Return what draws further noise for the same images: (N, C, H, W) in float64, each image's
    from its own seed.

    The streams go on where ``seeded_noise`` left them, as those of EDM's stochastic sampler do.
    """
    generators: list[torch.Generator] = []

    def draw() -> Tensor:
        for seed in seeds if not generators else ():
            generators.append(torch.Generator().manual_seed(seed))
            torch.randn(image_spec.shape, generator=generators[-1])
            if image_spec.label_dim:
                torch.randint(image_spec.classes, (1,), generator=generators[-1])
        noise = [torch.randn(image_spec.shape, dtype=torch.float64, generator=g) for g in generators]
        return torch.stack(noise).to(device)

    return draw


def batch_size(image_spec: ImageSpec, device: torch.device) -> int:
    """Choose how many images are made at once: many on a GPU, on a CPU what caches and activations
    allow.
    """
    return 250 if device.type == "cuda" else max(FEWEST, min(250, 2**14 // image_spec.resolution**2))


def generate_images(
    generate: Generate,
    seeds: range,
    image_spec: ImageSpec,
    device: torch.device,
    classes: Tensor | None = None,
) -> Tensor:
    """Generate images in [-1, 1] (N, C, H, W) from these seeds, and leave the random state as it was.

    ``classes`` (N,) stand in place of those that the seeds draw.

    Raises BenchError for images of another shape, and Diverged for ones that are not finite.
    """
    z, labels = seeded_noise(seeds, image_spec, device)
    if classes is not None:
        labels = F.one_hot(classes, image_spec.label_dim).float().to(device)
    draw = seeded_draw(seeds, image_spec, device)
    with fork_rng(device), torch.no_grad():
        torch.manual_seed(seeds.start)  # for a generator that draws noise of its own
        images = generate(z, labels, draw)
    if images.shape != z.shape:
        raise BenchError(
            f"the generator returned images of shape {tuple(images.shape)}, expected {tuple(z.shape)}."
        )
    if not images.isfinite().all():
        raise Diverged(
            "the generator returns NaN or infinite values: the run has diverged; lower the learning rates."
        )
    return images


def quantised(generate: Generate, image_spec: ImageSpec, device: torch.device, seeds: range) -> Tensor:
    """Generate uint8 images from these seeds; a few are made among more, so that their last bits
    are the same.
    """
    enough = range(seeds.start, seeds.start + max(len(seeds), FEWEST))
    return to_uint8(generate_images(generate, enough, image_spec, device))[: len(seeds)]


def sample_images(
    generator: ImageGenerator,
    seeds: range,
    observe: Observer = ignore,
    classes: Tensor | None = None,
) -> Tensor:
    """Generate images in [-1, 1] (N, C, H, W) from these seeds, in batches, and return them on the CPU.

    ``classes`` (N,) stand in place of those that the seeds draw.
    """
    image_spec, device = generator.teacher.image_spec, generator.device
    size, images = batch_size(image_spec, device), []
    for first in range(0, len(seeds), size):
        batch = seeds[first : first + size]
        chosen = None if classes is None else classes[first : first + size]
        images.append(generate_images(generator.generate, batch, image_spec, device, chosen).cpu())
        observe(Working("sampling", first + len(batch), len(seeds)))
    return torch.cat(images)


@dataclass(frozen=True)
class Sampler:
    """A generator as a function from seeds to images: image *i* is of seed ``seed + i`` alone, the same
    as in ``bench sample``.

    Example:
        generate = bench.load_generator("teacher:edm-digits")
        images = generate(16, seed=100)
    """

    generator: ImageGenerator

    @property
    def nfe(self) -> int:
        """Evaluations of the network for an image."""
        return self.generator.nfe

    @property
    def image_spec(self) -> ImageSpec:
        """Size of the images, and the number of classes."""
        return self.generator.teacher.image_spec

    def __call__(
        self, count: int = 64, *, seed: int = 0, classes: int | Sequence[int] | None = None
    ) -> Tensor:
        """Return ``count`` images (N, C, H, W) on the CPU, in [-1, 1] but for what the network overshoots.

        Args:
            count: how many.
            seed: that of the first image; the others follow.
            classes: the class of all images, or of each; by default each seed draws its own.

        Raises UsageError for a count or seed out of range, and for classes that there are not.
        """
        for what, number, least in (("count", count, 1), ("seed", seed, 0)):
            if not least <= number < 2**62:
                raise UsageError(f"the {what} of images is {number}, expected {least} or more.")
        return sample_images(
            self.generator, range(seed, seed + count), classes=self._classes(classes, count)
        )

    def _classes(self, classes: int | Sequence[int] | None, count: int) -> Tensor | None:
        if classes is None:
            return None
        known = self.image_spec.classes
        if not known:
            raise UsageError("the generator is not conditioned on classes; leave them out.")
        given = classes.tolist() if hasattr(classes, "tolist") else classes  # a tensor or an array
        each = [given] * count if isinstance(given, int) else given
        if (
            not isinstance(each, Sequence)
            or len(each) != count
            or not all(isinstance(c, Integral) and 0 <= int(c) < known for c in each)
            or any(isinstance(c, bool) for c in each)
        ):
            raise UsageError(
                f"the classes are {shown(given)}, expected a whole number from 0 to {known - 1}, or {count} "
                "of them in a list."
            )
        return torch.tensor(each)


def at_once(generate: Generate, image_spec: ImageSpec, device: torch.device) -> Callable[[int], Tensor]:
    """Return the generator as a function of the number of images, whose noise is drawn on the
    device at once.
    """

    def make(count: int) -> Tensor:
        generator = torch.Generator(device).manual_seed(0)
        z = torch.randn(count, *image_spec.shape, device=device, generator=generator)
        labels = None
        if image_spec.label_dim:
            each = torch.arange(count, device=device) % image_spec.classes
            labels = F.one_hot(each, image_spec.label_dim).float()

        def draw() -> Tensor:
            return torch.randn(z.shape, dtype=torch.float64, device=device, generator=generator)

        with fork_rng(device), torch.no_grad():
            return generate(z, labels, draw)

    return make
