"""distill-bench: distil pretrained diffusion models into one-step generators, and compare the
methods at matched compute.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bench.api import compare, curves, export, leaderboard, load_generator, picture, results, run
    from bench.tuning import sweep

__all__ = [
    "compare",
    "curves",
    "export",
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
        from bench import api, tuning  # as said above

        return getattr(tuning if name == "sweep" else api, name)
    raise AttributeError(f"module 'bench' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
