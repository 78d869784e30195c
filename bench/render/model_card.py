"""The model card of an exported generator: Markdown, with the fields at its head that Hugging Face reads."""

import re
import shlex
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from bench import registry
from bench.files.documents import dump_yaml
from bench.render.tables.markdown import escaped
from bench.runs.exported import FORMS, Export, GeneratorFacts
from bench.runs.recipe import Recipe, SettledEvaluation
from bench.units import ARROWS, duration, plus_minus, quantity, short_budget

SUITE = "distill-bench"


def model_card(about: Export) -> str:
    """Write the README of an exported folder: use, numbers, teacher and licence, method, cost, recipe."""
    head = dump_yaml(_head(about), width=120)
    sections = (_title, _use, _results, _teacher, _method, _cost, _recipe)
    return f"---\n{head}---\n\n" + "\n".join("\n".join(s(about)) + "\n" for s in sections)


def _head(about: Export) -> dict[str, Any]:
    """Return the fields that Hugging Face reads, in its words."""
    recipe, steps = about.recipe, "one-step" if about.generator.nfe == 1 else "few-step"
    head: dict[str, Any] = {"library_name": SUITE, **licence_fields(about.licence)}
    head["pipeline_tag"] = "unconditional-image-generation"
    head["tags"] = ["diffusion", "distillation", steps, recipe.method, recipe.teacher.partition(":")[0]]
    if about.form == "onnx":
        head["tags"].append("onnx")
    if re.fullmatch(r"diffusers:[\w.-]+/[\w.-]+", recipe.teacher):
        head["base_model"] = recipe.teacher.removeprefix("diffusers:")
    if about.evaluation:
        dataset = about.generator.dataset or recipe.teacher
        metrics = [
            {"type": name, "name": f"{name.upper()} ({m.protocol})", "value": m.value}
            for name, m in about.evaluation.metrics.items()
        ]
        task = {"type": "unconditional-image-generation"}
        result = {"task": task, "dataset": {"type": dataset, "name": dataset}, "metrics": metrics}
        head["model-index"] = [{"name": about.run_id, "results": [result]}]
    return head


def _teacher_name(about: Export) -> str:
    """Return the teacher's name; of one in a folder, the last part of the folder's path."""
    kind, colon, source = about.recipe.teacher.partition(":")
    return kind + colon + (Path(source).name if Path(source).is_absolute() else source)


def licence_fields(licence: str) -> dict[str, str]:
    """Return a licence as Hugging Face's head has it: by its identifier, or ``other`` with its words."""
    creative = re.search(r"\bCC[ -](BY(?:-NC)?(?:-SA|-ND)?)[ -](\d\.\d)", licence, re.IGNORECASE)
    if creative:
        return {"license": f"cc-{creative[1]}-{creative[2]}".lower()}
    for words, identifier in ((r"Apache[ -](?:License )?2\.0", "apache-2.0"), (r"\bMIT\b", "mit")):
        if re.search(words, licence):
            return {"license": identifier}
    return {"license": "other", "license_name": "of-the-teacher"}


def _title(about: Export) -> Iterator[str]:
    generator = about.generator
    size = f"{generator.channels}x{generator.resolution}x{generator.resolution}"
    steps = "one evaluation" if generator.nfe == 1 else f"{generator.nfe} evaluations"
    kinds = f" of {generator.classes} classes" if generator.classes else ""
    yield f"# {about.run_id}\n"
    yield (
        f"A generator of {size} images{kinds} by {steps} of its network of "
        f"{quantity(generator.parameters)} parameters, distilled from the diffusion model "
        f"`{_teacher_name(about)}` by the method `{about.recipe.method}` of {SUITE}, on "
        f"{quantity(about.images)} images."
    )


def _use(about: Export) -> Iterator[str]:
    generator = about.generator
    shape = f"(16, {generator.channels}, {generator.resolution}, {generator.resolution})"
    yield "## Use\n"
    yield f"With {SUITE}, where FOLDER is the folder of this file:\n"
    plugins = list(about.recipe.plugins) if about.form != "onnx" else []
    sample = _command(["sample", "FOLDER", "-n", "64", "-o", "grid.png"], plugins)
    yield f"```\n{sample}\n```\n"
    yield "```python\nimport bench\n"
    given = f", plugins={plugins}" if plugins else ""
    yield f'images = bench.load_generator("FOLDER"{given})(16, seed=0)  # {shape} in [-1, 1]\n```'
    if about.form == "onnx":
        yield "\nWith onnxruntime alone, for any number of images:\n"
        yield from _with_onnxruntime(generator, shape)
    if plugins:
        files = ", ".join(f"`{name}` of SHA-256 {d}" for name, d in about.recipe.plugins.items())
        yield f"\nIt was made with a plugin, which is not in this folder and has to be given: {files}."
    if about.form != "onnx":
        yield (
            f"\nThe teacher's network is built first, from its own weights (SHA-256 of the tensors "
            f"{about.recipe.teacher_digest}); `--path FILE` gives them where they are not at the usual place."
        )


def _with_onnxruntime(generator: GeneratorFacts, shape: str) -> Iterator[str]:
    one_hot = f'np.eye({generator.label_dim}, dtype="float32")[np.arange(16) % {generator.classes}]'
    labels = f', "labels": {one_hot}' if generator.label_dim else ""
    yield "```python\nimport numpy as np\nimport onnxruntime\n"
    yield f'session = onnxruntime.InferenceSession("{FORMS["onnx"]}")'
    yield f'noise = np.random.standard_normal({shape}).astype("float32")'
    yield f'(images,) = session.run(None, {{"noise": noise{labels}}})\n```'


def _results(about: Export) -> Iterator[str]:
    yield "## Results\n"
    evaluation, record = about.evaluation, about.record
    if evaluation is None or record is None:
        yield "No measurement of these weights was at hand; `bench eval FOLDER` makes one."
        return
    yield "| metric | value | protocol |\n| --- | ---: | --- |"
    for name, m in evaluation.metrics.items():
        arrow = ARROWS[record.direction(name)]
        yield f"| {name.upper()} {arrow} | {plus_minus(m.value, m.std)} | {escaped(m.protocol)} |"
    whose = (
        "the run's final numbers, on seeds by which nothing was chosen"
        if about.is_final
        else "numbers from the run's way, on the seeds by which its best checkpoint is chosen"
    )
    yield (
        f"\n{evaluation.samples:,} images for each number; ± is the deviation over replicates where "
        f"there are several. These are {whose}."
    )
    if about.is_final and about.recipe.evaluation:
        again = eval_command(about.recipe.evaluation, about.recipe.plugins)
        yield f"They are measured again by\n\n```\n{again}\n```"
    if about.largest_difference is not None:
        yield (
            "\nThe graph's images were compared with the network's on export: they differ by at most "
            f"{about.largest_difference:.1e} in [-1, 1], where one of 256 levels is 7.8e-03."
        )


def eval_command(plan: SettledEvaluation, plugins: Iterable[str] = ()) -> str:
    """Return the command that measures an exported folder as a run measures itself."""
    words = ["eval", "FOLDER", "--protocol", plan.protocol, "--metrics", ",".join(plan.metrics)]
    words += ["--eval-samples", str(plan.samples), "--eval-repeats", str(plan.repeats)]
    words += ["--fast"] if plan.fast else []
    words += ["--kid-subset-size", str(plan.kid_subset_size)] if plan.kid_subset_size else []
    words += ["--kid-subsets", str(plan.kid_subsets)] if plan.kid_subsets else []
    words += ["--reference", plan.reference] if plan.reference else []
    return _command(words, plugins)


def _command(words: Iterable[str], plugins: Iterable[str]) -> str:
    """Return a command of the suite as a shell reads it, with its plugins."""
    return shlex.join(["bench", *words, *(word for name in plugins for word in ("--plugin", name))])


def _not_here(recipe: Recipe) -> list[str]:
    """Name what the run was made with and the folder does not hold: files and folders by their last part."""
    reference = recipe.evaluation.reference if recipe.evaluation else None
    places = (recipe.data, recipe.settings.get("start"), reference)
    known = registry.datasets.entries()
    return [*recipe.plugins, *(str(place) for place in places if place and place not in known)]


def _teacher(about: Export) -> Iterator[str]:
    yield "## Teacher and licence\n"
    yield (
        f"The generator is made from the network of `{_teacher_name(about)}`, and so the licence of that "
        "teacher's weights holds for it as well.\n"
    )
    yield f"Licence of the teacher's weights: **{escaped(about.licence)}** ({escaped(about.licence_source)})."
    if "-nc" in licence_fields(about.licence)["license"]:
        yield "These weights are therefore not for commercial use either, and shared under the same terms."


def _method(about: Export) -> Iterator[str]:
    yield "## Method\n"
    yield f"`{about.recipe.method}`: {escaped(about.summary)}"
    if about.bibtex:
        yield f"\n```bibtex\n{about.bibtex.strip()}\n```"


def _cost(about: Export) -> Iterator[str]:
    yield "## Cost\n"
    record = about.record
    if record is None or not about.is_final:
        yield f"Training up to these weights took {about.images:,} images."
        return
    cost, where = record.cost, record.environment
    together = f" ({where.world_size} processes)" if where.world_size > 1 else ""
    yield (
        f"Training took {cost.images:,} images, {cost.updates:,} updates, {quantity(cost.flops)} FLOPs and "
        f"{duration(cost.seconds)} on {where.device or 'a device that is not known'}{together}, in "
        f"{where.precision or 'a precision that is not known'}."
    )
    if record.tuning.runs is not None:
        yield f"Its settings were chosen from {record.tuning.runs} runs: {escaped(record.tuning.note)}"


def _recipe(about: Export) -> Iterator[str]:
    recipe, sources = about.recipe, about.record.sources if about.record else {}
    yield "## Recipe\n"
    budget = short_budget(recipe.budget) if recipe.budget else "none"
    missing = ", ".join(f"`{name}`" for name in _not_here(recipe))
    condition = f", once these are put into the folder where it is called: {missing}" if missing else ""
    yield (
        f"Seed {recipe.seed}, budget {budget}. The whole of it is `recipe.yaml`, from which "
        f"`bench run --recipe recipe.yaml` repeats the run{condition}.\n"
    )
    yield "| setting | value | source |\n| --- | --- | --- |"
    for name, value in recipe.settings.items():
        yield f"| {name} | {escaped(str(value))} | {escaped(str(sources.get(name, '')))} |"
    yield f"\nSHA-256 of the weights as tensors, in the form that the run has them: `{about.digest}`."
