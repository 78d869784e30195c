"""The process that reads the hostile files."""

from __future__ import annotations

import pytest

from tests.helpers.reader_process import Reader


@pytest.fixture(scope="module")
def reader(tmp_path_factory):
    made = Reader(tmp_path_factory.mktemp("cache"))
    yield made
    made.close()
