"""What a file or folder holds, by its images: whatever contains them, and under whichever name."""

import hashlib
import json
from contextlib import suppress
from pathlib import Path

from bench.errors import UsageError
from bench.files.atomic import cache_folder, content_digest, files_in, write_atomic
from bench.plugin.dataset import ContentDigest, Dataset, find_dataset

BATCH = 1000
"""Images read at once."""


def digest_of(place: Path, *, labels: bool = False) -> str:
    """Return the SHA-256 of the images of a data set, with ``labels`` of these too, or of the bytes of
    any other file.

    A zip of a folder's images has the folder's digest. It is kept in the cache for as long as the
    files, their sizes and their times stay as they are. Raises UsageError for a damaged data set.
    """
    place = place.resolve()
    facts = []
    for file in files_in(place):
        entry = file.stat()
        facts.append((str(file.relative_to(place)), entry.st_ino, entry.st_size, entry.st_mtime_ns))
    key = hashlib.sha256(json.dumps([str(place), labels, facts]).encode()).hexdigest()
    kept = cache_folder() / "digests" / key
    if kept.is_file():
        return kept.read_text(encoding="ascii")
    try:
        dataset = find_dataset(str(place), labels=labels)()
    except UsageError:
        if place.is_file():
            return content_digest(place)
        raise
    digest = dataset_digest(dataset)
    with suppress(OSError):  # the cache only spares reading the images again
        write_atomic(kept, digest)
    return digest


def dataset_digest(dataset: Dataset) -> str:
    """Return the SHA-256 of a data set's images, and of its labels if it has any."""
    digest = ContentDigest()
    for batch in dataset.batches(BATCH):
        digest.update(*batch)
    return digest.hexdigest()
