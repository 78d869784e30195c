"""Blocks of code in the documentation, and carrying them out in little."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.files.documents import parse_yaml
from bench.runs.store import read_records, results_folder
from bench.runs.suite import make_suite
from tests.helpers.command_line import CommandLine

_FENCE = re.compile(
    r"(?:^<!-- not run: (?P<reason>[^\n]*?) -->\n+)?^(?P<indent> *)```(?P<language>\w*)(?P<info>[^\n]*)\n(?P<text>.*?)^(?P=indent)```$",
    re.MULTILINE | re.DOTALL,
)
LANGUAGES = {"bash", "python", "yaml", "text"}
IN_LITTLE = {
    "run": "--budget updates=2 --eval-points 2 --eval-samples 60 --eval-repeats 1",
    "compare": "--budget updates=2 --eval-points 2 --eval-samples 60 --eval-repeats 1 --seeds 1",
    "sweep": "--trials 2 --budget updates=2 --eval-samples 60 --eval-repeats 1",
    "sample": "-n 1000",
    "eval": "--eval-samples 1000 --eval-repeats 1",
    "check": "",
}
"""What is added to a command, the last flag counts, so that the page takes seconds: as much is computed,
of less.
"""


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, the file that its title names, and why it is not run, if it is not."""

    language: str
    file: str
    text: str
    reason: str
    line: int


def blocks(page: Path) -> Iterator[Block]:
    """Yield the blocks of a page of Markdown in their order."""
    text = page.read_text(encoding="utf-8")
    fences = len(re.findall(r"^[ >]*(?:```|~~~)", text, re.MULTILINE))
    whole = len(_FENCE.findall(text))
    assert fences == 2 * whole, f"{page.name} has {fences} fences and {whole} blocks that are understood"
    for found in _FENCE.finditer(text):
        title = re.search(r'title="([^"]+)"', found["info"])
        yield Block(
            found["language"],
            title[1] if title else "",
            found["text"],
            found["reason"] or "",
            text.count("\n", 0, found.start("text")),
        )


def commands(block: Block) -> list[str]:
    """Return the commands of a block of ``bash``, without comments."""
    whole = block.text.replace("\\\n", " ")
    lines = [re.sub(r"(^|\s)#.*", "", line).strip() for line in whole.splitlines()]
    return [line for line in lines if line]


class Reader:
    """A person who carries out a page block by block, in a folder of their own."""

    def __init__(self, folder: Path, bench: CommandLine) -> None:
        self.folder, self.bench = folder, bench
        self.names: dict[str, Any] = {"__name__": "page"}

    def carry_out(self, block: Block) -> None:
        """Write the file that a block is, or execute it. Raises AssertionError where it fails."""
        if block.file:
            file = self.folder / block.file
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(block.text, encoding="utf-8")
        elif block.language == "python":
            exec(block.text, self.names)
        elif block.language == "yaml":
            make_suite(parse_yaml(block.text))
        elif block.language == "bash":
            for command in commands(block):
                self._command(command)

    def _command(self, command: str) -> None:
        program, name, *words = shlex.split(command)
        assert program == "bench", f"{command!r} is no command of the suite; say why it is not run"
        words = [self._last_run() if word == "RUN" else word for word in words]
        if name == "compare" and any(word.endswith(".yaml") for word in words):
            words.append("--dry-run")
        else:
            words += IN_LITTLE.get(name, "").split()
        code, _, err = self.bench(name, *words)
        assert code == 0, f"{command}: {err}"

    def _last_run(self) -> str:
        """Return the id of a finished run of the page, or of one that is made for it."""
        records, _ = read_records(results_folder(None))
        trained = [r.run_id for r in records if r.status == "done" and r.method != "teacher"]
        if not trained:
            self._command("bench run --method sid --teacher edm-digits")
            return self._last_run()
        return trained[0]
