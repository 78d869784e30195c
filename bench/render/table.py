"""A leaderboard as text: for the terminal, Markdown, LaTeX, CSV and JSON."""

from __future__ import annotations

import csv
import io
import json
from typing import Any

from rich.table import Table

from bench.leaderboard import Leaderboard, Row
from bench.render.numbers import duration, plus_minus, quantity
from bench.render.terminal import uncut

ARROWS = {"lower": "↓", "higher": "↑"}
FORMATS = ("terminal", "md", "latex", "csv", "json")


def render(board: Leaderboard, form: str) -> str:
    """The leaderboard in one of ``FORMATS``."""
    return {"terminal": _terminal, "md": _markdown, "latex": _latex, "csv": _csv, "json": _json}[form](board)


def _header(board: Leaderboard) -> list[str]:
    """Column titles for people; each metric carries its direction and its protocol."""
    metrics = [f"{c.metric.upper()} {ARROWS[c.direction]} ({c.label})" for c in board.columns]
    return ["teacher", "method", "rank", *metrics, "seeds", "NFE", "data-free", "images", "FLOPs", "time", "tuning"]


def _cells(row: Row, board: Leaderboard) -> list[str]:
    numbers = [row.numbers.get(c) for c in board.columns]
    cost = [quantity(row.images), quantity(row.flops), duration(row.seconds)] if row.updates else ["-"] * 3
    return [
        row.teacher,
        row.method + (f" ({row.variant})" if row.variant else ""),
        row.rank,
        *(plus_minus(n.mean, n.std) if n else "-" for n in numbers),
        str(row.seeds),
        str(row.nfe),
        "yes" if row.data_free else "no",
        *cost,
        "-" if row.tuning is None else f"{row.tuning} runs",
    ]


def _terminal(board: Leaderboard) -> str:
    """Titles on two lines to save room; a long variant folds, and a number is never cut, however narrow the terminal."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for title in _header(board):
        words = title in ("teacher", "method")
        table.add_column(title.replace(" (", "\n("), justify="left" if words else "right", max_width=48, overflow="fold")
    for row in board.rows:
        table.add_row(*_cells(row, board))
    return uncut(table)


def _markdown(board: Leaderboard) -> str:
    def line(cells: list[str]) -> str:
        return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"

    header = _header(board)
    rule = line(["---"] * 2 + ["---:"] * (len(header) - 2))
    return "\n".join([line(header), rule, *(line(_cells(row, board)) for row in board.rows)])


def _latex(board: Leaderboard) -> str:
    """A booktabs tabular; LaTeX's special characters are escaped."""
    arrows = {"↓": r"$\downarrow$", "↑": r"$\uparrow$", "±": r"$\pm$"}
    special = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"} | {
        c: f"\\{c}" for c in "&%$#_{}"
    }

    def line(cells: list[str]) -> str:
        return " & ".join("".join((special | arrows).get(c, c) for c in cell) for cell in cells) + r" \\"

    header = _header(board)
    return "\n".join(
        [
            rf"\begin{{tabular}}{{ll{'r' * (len(header) - 2)}}}",
            r"\toprule",
            line(header),
            r"\midrule",
            *(line(_cells(row, board)) for row in board.rows),
            r"\bottomrule",
            r"\end{tabular}",
        ]
    )


def _values(board: Leaderboard) -> list[dict[str, Any]]:
    """Rows as plain data at full precision, for programs."""
    rows = []
    for row in board.rows:
        values: dict[str, Any] = {"teacher": row.teacher, "method": row.method, "variant": row.variant, "rank": row.rank}
        for c in board.columns:
            number = row.numbers.get(c)
            values |= {c.key: number.mean if number else None, f"{c.key}_std": number.std if number else None}
            values |= {f"{c.key}_seeds": number.seeds if number else 0}
        values |= {"seeds": row.seeds, "nfe": row.nfe, "data_free": row.data_free, "tuning": row.tuning}
        values |= {axis: getattr(row, axis) for axis in ("images", "updates", "flops", "seconds")}
        rows.append(values)
    return rows


def _csv(board: Leaderboard) -> str:
    rows, text = _values(board), io.StringIO()
    if rows:
        writer = csv.DictWriter(text, fieldnames=list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    return text.getvalue().rstrip("\n")


def _json(board: Leaderboard) -> str:
    return json.dumps(_values(board), indent=1, ensure_ascii=False)
