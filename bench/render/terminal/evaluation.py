"""An evaluation as lines of text."""

from typing import Any

from bench.units import ARROWS, plus_minus, quantity


def print_evaluation(content: dict[str, Any]) -> None:
    """Print the numbers of an evaluation with their protocols, references and generator."""
    protocol = content["protocol"]
    for name, m in content["metrics"].items():
        arrow = ARROWS[protocol["directions"][name]]
        smallest = (
            f"  smallest of {len(m['values'])}: {plus_minus(m['smallest'], None)}"
            if "smallest" in m
            else ""
        )
        print(
            f"{name + ' ' + arrow:<15} {plus_minus(m['value'], m.get('std')):<16} {m['protocol']}{smallest}"
        )
    for facts in protocol["references"]:
        count = f"{facts['images']:,} images" if facts.get("images") else None
        known = filter(None, (facts.get("dataset"), facts.get("split"), count, f"by {facts['builder']}"))
        print(f"{'compared with':<15} {', '.join(known)}")
    if content["nfe"] is not None:
        print(f"{'generator':<15} NFE {content['nfe']}, {quantity(content['parameters'])} parameters")
    rows = content.get("cross_check", [])
    if rows:
        print(f"\n{'cross-check':<15} {'value':<20} {'by':<53} difference")
    for row in rows:
        by = f"{row['formula']}, features by {row['features']}"
        print(f"{row['metric']:<15} {row['value']:<20.8g} {by:<52} {row['difference']:+.2e}")
