"""Writing a trained generator in a form that others take: safetensors, Hugging Face's, or an ONNX graph."""

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib.metadata import entry_points
from pathlib import Path

import torch
from torch import Tensor, nn

from bench import registry
from bench.errors import BenchError, UsageError, unknown
from bench.evaluation.sampling import generate_images
from bench.factory import ImageGenerator, open_generator
from bench.files.atomic import new_folder, require_new, write_atomic
from bench.files.documents import dump_yaml
from bench.files.graphs import write_graph
from bench.files.paths import written_path
from bench.files.tensors import load_tensors, save_sealed, tensors_digest
from bench.plugin.method import Generate
from bench.runs.exported import FORMS, KEY, Export, GeneratorFacts, exported_weights, portable
from bench.runs.folder import RunFolder
from bench.runs.recipe import read_recorded
from bench.settings import card
from bench.trained import described, find_trained

COMPARED = range(16)
"""Seeds of the images by which a graph is compared with its network."""
UNKNOWN = "not known to distill-bench"
"""In place of a licence that neither a file nor a package states."""
MOST = 1 / 255
"""Largest difference of such images in [-1, 1] that passes for rounding: half of one of 256 levels."""


def export_into(
    output: Path | str,
    name: str,
    form: str,
    card: Callable[[Export], str],
    results: Path,
    path: str | None = None,
) -> Path:
    """Write a trained generator into a new folder, and return the folder.

    Args:
        output: the folder, which is not there yet or is empty.
        name: a run, its weights file, or what was exported as safetensors or for Hugging Face.
        form: one of ``FORMS``.
        card: writes the model card.
        results: the folder in which runs are looked for.
        path: a file in place of the teacher's usual weights.

    Raises UsageError, and leaves nothing behind, for what is no trained generator, for a form that it
    does not have, and for a folder that holds something.
    """
    if form not in FORMS:
        raise unknown("form", form, FORMS)
    target = written_path(output)
    require_new(target)
    found = find_exportable(name, results, path)
    with new_folder(target) as folder:
        write_atomic(folder / "README.md", card(write_form(found, form, folder)))
    return target


@dataclass(frozen=True)
class Exportable:
    """A trained generator that opens on this machine, ready to be written in any form."""

    weights: Path
    generator: ImageGenerator
    about: Export
    """All that its model card says; the form and the comparison come with the writing."""


def find_exportable(name: str, results: Path, path: str | None = None) -> Exportable:
    """Find a trained generator and open it, on the CPU, since what does not open is not exported.

    Raises UsageError for what is no trained generator.
    """
    if (exported_weights(Path(name)) or Path(name)).suffix == ".onnx":
        raise UsageError(
            f"{name!r} is a graph, which no other form is made of; export the run, or its safetensors."
        )
    trained = find_trained(name, results)
    if trained.weights is None:
        raise UsageError(
            f"the run {name!r} is its teacher, sampled, and has trained nothing; export a run that has."
        )
    generator = open_generator(name, results, device="cpu", path=path)
    meta, recipe = described(trained.weights), trained.recipe
    licence, licence_source = teacher_licence(recipe.teacher)
    if recipe.teacher_path:
        licence_source += "; the weights of this run were given by hand, and may have another"
    teacher, spec = generator.teacher, generator.teacher.image_spec
    about = Export(
        form="",
        run_id=str(meta.get("run_id", recipe.run_id)),
        recipe=read_recorded(portable(recipe.model_dump(mode="json")), f"{name!r}"),
        generator=GeneratorFacts(
            teacher=recipe.teacher,
            channels=spec.channels,
            resolution=spec.resolution,
            label_dim=spec.label_dim,
            classes=spec.classes,
            nfe=generator.nfe,
            parameters=generator.parameters,
            dataset=teacher.dataset,
            protocol=teacher.protocol,
        ),
        images=int(meta.get("images", 0)),
        digest=tensors_digest(load_tensors(trained.weights)[0]),
        summary=registry.methods.entries()[recipe.method].summary(),
        bibtex=card(registry.methods.get(recipe.method)).bibtex,
        licence=licence,
        licence_source=licence_source,
        record=RunFolder(trained.run).read_record() if trained.run else None,
    )
    return Exportable(trained.weights, generator, about)


def write_form(found: Exportable, form: str, folder: Path) -> Export:
    """Write the weights and the recipe into a folder, and return all that its model card says.

    The recipe, there and within the weights file, is without the folders of this machine.

    Raises UsageError for a form that the generator does not have, and BenchError for a graph that
    makes other images than its network.
    """
    about, file = replace(found.about, form=form), folder / FORMS[form]
    recipe = about.recipe.model_dump(mode="json")
    if form == "onnx":
        about = replace(about, largest_difference=_write_graph(found, file))
    else:
        tensors, meta = load_tensors(found.weights)
        save_sealed(file, tensors, meta | {"recipe": recipe})
    if form == "hf":
        facts = {"library_name": "distill-bench", "method": about.recipe.method, "run_id": about.run_id}
        content = facts | about.generator.model_dump() | {"recipe": recipe}
        write_atomic(folder / "config.json", json.dumps(content, indent=2) + "\n")
    write_atomic(folder / "recipe.yaml", dump_yaml(recipe))
    return about


class _Images(nn.Module):
    """A generator as a module from noise and labels to images."""

    def __init__(self, network: nn.Module, generate: Generate) -> None:
        super().__init__()
        self.network, self.generate = network, generate

    def forward(self, noise: Tensor, labels: Tensor | None = None) -> Tensor:
        return self.generate(noise, labels, _refuse_to_draw)


def _refuse_to_draw() -> Tensor:
    raise UsageError(
        "the generator draws fresh noise between its steps, each image from its own seed, which a graph "
        "from noise to images cannot; export it --to safetensors."
    )


def _write_graph(found: Exportable, file: Path) -> float:
    """Write the generator as a graph, and return the largest difference of its images from the network's."""
    generator, about = found.generator, found.about
    spec = generator.teacher.image_spec
    module = _Images(generator.network, generator.generate).eval()
    noise = torch.zeros(2, *spec.shape)
    labels = torch.eye(spec.label_dim)[[0, 0]] if spec.label_dim else None
    with torch.no_grad():
        module(noise, labels)  # says so if it draws, in words that the exporter would bury
    meta = {
        "generator": about.generator.model_dump(),
        "run_id": about.run_id,
        "images": about.images,
        "recipe": about.recipe.model_dump(mode="json"),
    }
    write_graph(file, module, noise, labels, {KEY: meta})
    graph = open_generator(str(file), file.parent, device="cpu")
    own, others = (
        generate_images(each, COMPARED, spec, torch.device("cpu"))
        for each in (generator.generate, graph.generate)
    )
    difference = (own - others).abs().max().item()
    if difference > MOST:
        raise BenchError(
            f"the graph's images differ from the network's by up to {difference:.2g} in [-1, 1], more than "
            "rounding does, as where a generator draws noise of its own; export it --to safetensors."
        )
    return difference


def teacher_licence(name: str) -> tuple[str, str]:
    """Return the licence of a teacher's weights, which its students inherit, and where it is stated."""
    base, _, source = name.partition(":")
    if source:
        place = (
            f"the folder {Path(source).name}"
            if Path(source).exists()
            else f"https://huggingface.co/{source}"
        )
        return UNKNOWN, f"{place} states it"
    if assets := registry.teachers.get(base).assets:
        return assets[0].licence, assets[0].source
    points = [p for p in entry_points(group=registry.teachers.group) if p.name == base]
    if points and (package := points[0].dist):
        for field in ("License-Expression", "License"):
            if field in package.metadata:
                licence = package.metadata[field].partition("\n")[0]  # old packages put all of it there
                return licence, f"the package {package.name}, which ships the teacher"
    return UNKNOWN, f"{registry.teachers.entries()[base].origin} provides the teacher"
