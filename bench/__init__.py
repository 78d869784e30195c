"""distill-bench: distil pretrained diffusion models into one-step generators, and compare the
methods at matched compute.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bench.api import compare, curves, export, leaderboard, load_generator, picture, results, run
    from bench.halving import halve
    from bench.tuning import sweep

__all__ = [
    "compare",
    "curves",
    "export",
    "halve",
    "leaderboard",
    "load_generator",
    "picture",
    "results",
    "run",
    "sweep",
]


def __getattr__(name: str) -> Any:
    """Import the Python interface, and with it torch or pandas, only when it is used."""
    if name in __all__:
        from bench import api, halving, tuning  # as said above

        return getattr({"sweep": tuning, "halve": halving}.get(name, api), name)
    raise AttributeError(f"module 'bench' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
