"""Every built-in method keeps the contract of a method."""

from __future__ import annotations

from bench import registry
from bench.testing import MethodContract


class TestBuiltIn(MethodContract):
    names = tuple(sorted(registry.methods.entries()))
    slow = False  # tests/training/test_processes.py trains all of them by several processes
