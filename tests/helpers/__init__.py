"""What several test files share."""

from __future__ import annotations

from pathlib import Path

FIXTURES = Path(__file__).parents[1] / "fixtures"
"""Stored numbers of the reference implementations."""
