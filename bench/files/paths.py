"""Paths as people write them, refused where no file can have such a name."""

import os
from pathlib import Path

from bench.errors import UsageError

LONGEST_NAME, LONGEST = 255, 3_500
"""Bytes of the longest name in a folder, and of the longest path, which leaves room for files below it."""


def written_path(text: str | Path) -> Path:
    """Read a path in which ``~`` is the home folder, which no shell replaces in ``--results=~/x``.

    Raises UsageError for a text that names no file.
    """
    if problem := path_problem(str(text)):
        raise UsageError(f"the path {str(text)[:60]!r} {problem}; name a file or folder.")
    return Path(text).expanduser()


def path_problem(text: str) -> str:
    """Say why a text names no file on any machine; the empty string if it may name one."""
    if not text.strip():
        return "is blank"
    if "\0" in text:
        return "has a zero byte in it"
    try:
        whole = os.fsencode(Path(text).expanduser().absolute())
    except RuntimeError:
        return "begins with the home folder of a user who is not there"
    except UnicodeEncodeError:
        return "has a character that no file's name can have"
    longest = max(len(name) for name in whole.split(os.fsencode(os.sep)))
    if longest > LONGEST_NAME or len(whole) > LONGEST:
        return (
            f"is longer than any file's, {len(whole):,} bytes with names of up to {longest:,}, expected at "
            f"most {LONGEST:,} and {LONGEST_NAME}"
        )
    return ""
