"""Find the files of a diffusers pipeline, in a folder or on the hub, and read its configurations."""

import json
import re
from pathlib import Path
from typing import Any

from bench.files.assets import is_dry_run, offline
from bench.plugin import UsageError, one_line

WEIGHTS, HALF_WEIGHTS = (
    "diffusion_pytorch_model.safetensors",
    "diffusion_pytorch_model.fp16.safetensors",
)
CONFIGURATION_BYTES = 2**20


def library() -> Any:
    """Import the library. Raises UsageError, which says how to get it, where it is not installed."""
    try:
        import diffusers  # here: an optional dependency that takes seconds to import
    except ImportError as error:
        raise UsageError(
            f"the teacher 'diffusers' needs the library diffusers ({error}); pip install "
            "'distill-bench[diffusers]'."
        ) from None
    return diffusers


def is_folder(source: str) -> bool:
    """Tell whether a source is a folder of this machine rather than a repository."""
    return Path(source).expanduser().is_dir()


def snapshot(source: str, pattern: str, revision: str | None = None) -> Path:
    """Return the folder ``source``, or the one of a hub repository, downloading files by ``pattern``."""
    if is_folder(source):
        return Path(source).expanduser()
    library()
    from huggingface_hub import snapshot_download  # here: comes with the optional diffusers

    try:
        return Path(
            snapshot_download(
                source, revision=revision, allow_patterns=[pattern], local_files_only=offline()
            )
        )
    except (OSError, ValueError) as error:  # the hub's errors are of these kinds
        if is_dry_run():
            raise _not_fetched(source) from None
        why = (
            "BENCH_OFFLINE=1 and the hub's cache does not have it"
            if offline()
            else str(error).partition("\n")[0]
        )
        raise UsageError(
            f"{source!r} is neither a folder nor a repository that the hub gives ({why}); give "
            "diffusers:FOLDER or diffusers:REPOSITORY."
        ) from None


def _not_fetched(source: str) -> UsageError:
    return UsageError(
        f"{source!r} is not whole in the hub's cache, and a dry run downloads nothing; `bench fetch "
        f"teacher:diffusers:{source}` gets what it needs."
    )


def configuration_files(folder: Path, source: str) -> tuple[Path, Path]:
    """Find the configurations of network and scheduler, each in its own folder or all in one."""
    index = (
        read_configuration(folder / "model_index.json")
        if (folder / "model_index.json").is_file()
        else {}
    )
    latent = [name for name in ("vae", "vqvae", "movq") if index.get(name) not in (None, [None, None])]
    if latent:
        raise UsageError(
            f"{source!r} works in the latents of its {latent[0]!r}; give a model of the images themselves."
        )
    return (
        _first(folder, source, "config.json", "unet", "transformer"),
        _first(folder, source, "scheduler_config.json", "scheduler"),
    )


def _first(folder: Path, source: str, file: str, *parts: str) -> Path:
    """Find ``file`` in one of the ``parts`` of ``folder``, or in ``folder`` itself."""
    places = [folder / part / file for part in (*parts, "")]
    for place in places:
        if place.is_file():
            return place
    names = ", ".join(str(place.relative_to(folder)) for place in places)
    raise UsageError(
        f"{source!r} has no {file}, looked for at {names}; give what diffusers' save_pretrained wrote."
    )


def weights_files(folder: Path, model: Path, source: str) -> list[Path]:
    """Return the safetensors files of the network in the folder ``model`` below ``folder``, as
    save_pretrained writes them: one, shards with their index, or the variant in float16. They are
    downloaded if needed.
    """

    def find(name: str) -> Path:
        place = (model / name).relative_to(folder)
        file = model / name
        return file if file.is_file() else snapshot(source, str(place), revision=folder.name) / place

    if (whole := find(WEIGHTS)).is_file():
        return [whole]
    if (index := find(f"{WEIGHTS}.index.json")).is_file():
        shards = read_configuration(index).get("weight_map")
        names = {str(name) for name in shards.values()} if isinstance(shards, dict) else set()
        if not names or not all(re.fullmatch(r"[\w.-]+\.safetensors", name) for name in names):
            raise UsageError(f"the index {str(index)!r} names no files beside it; save the model again.")
        return [find(name) for name in sorted(names)]
    if (halves := find(HALF_WEIGHTS)).is_file():
        return [halves]
    if is_dry_run() and not is_folder(source):
        raise _not_fetched(source)
    raise UsageError(
        f"{source!r} has neither {WEIGHTS} nor {HALF_WEIGHTS} beside its network's config.json, and "
        "pickled weights (.bin) are not taken from there; give a file of them by --teacher-path, which "
        "reads them without running them."
    )


def read_configuration(file: Path) -> dict[str, Any]:
    """Read a JSON file of the library. Raises UsageError for one that is damaged or too large."""
    try:
        with file.open("rb") as opened:
            text = opened.read(CONFIGURATION_BYTES + 1)
        if len(text) > CONFIGURATION_BYTES:
            raise ValueError(f"it is larger than {CONFIGURATION_BYTES:,} bytes")
        content = json.loads(text)
    except (OSError, ValueError, RecursionError, MemoryError) as error:
        why = one_line(error) or type(error).__name__
        raise UsageError(
            f"the configuration {str(file)!r} cannot be read ({why}); save the model again."
        ) from None
    if not isinstance(content, dict):
        raise UsageError(f"the configuration {str(file)!r} holds no JSON object; save the model again.")
    return content
