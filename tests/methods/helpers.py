"""What the tests of the methods share."""

from __future__ import annotations

AT_ONCE = {"generator_starts_at": 0, "adversarial_starts_at": 0}


def at_once(method: str) -> dict[str, int]:
    """Settings by which every step of a method is taken, and every term counts, from the first image."""
    return AT_ONCE if method in ("sida", "sid2a") else {}
