"""Figures at the size of a paper: their style, their legends, and their files."""

import io
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import matplotlib
import matplotlib.style
from matplotlib.artist import Artist
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import findfont, get_font
from matplotlib.text import Text

from bench.errors import UsageError, unknown

WIDTHS = {"column": 3.35, "page": 6.9}
"""Inches: the width of one column of a two-column paper, and of both."""
FORMATS = ("pdf", "svg", "png")

_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
"""The palette of Okabe and Ito without yellow, which paper hides, and black, which is the teacher."""
_DASHES: tuple[Any, ...] = (
    "-",
    (0, (5, 1.5)),
    (0, (1, 1)),
    (0, (5, 1.5, 1, 1.5)),
    (0, (3, 1, 1, 1, 1, 1)),
)
_MARKERS = "osD^vP<X>p*hd"

_STYLE: dict[str, Any] = {
    "font.family": ["DejaVu Sans"],
    "font.size": 7,
    "axes.titlesize": 7,
    "axes.labelsize": 7,
    "xtick.labelsize": 6.5,
    "ytick.labelsize": 6.5,
    "legend.fontsize": 6.5,
    "axes.linewidth": 0.6,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "lines.linewidth": 1.1,
    "lines.markersize": 3.5,
    "figure.constrained_layout.use": True,
    "figure.constrained_layout.w_pad": 0.03,
    "figure.constrained_layout.h_pad": 0.03,
    "savefig.dpi": 300,
    "text.parse_math": False,  # a name with dollars is a name
    "pdf.fonttype": 42,  # publishers refuse the Type 3 fonts that are the default
    "svg.fonttype": "none",
    "svg.hashsalt": "distill-bench",
}


@dataclass(frozen=True)
class Drawing:
    """A figure with its caption, and a sentence for each thing that it leaves out."""

    figure: Figure
    caption: str
    notes: list[str] = field(default_factory=list)


@contextmanager
def paper_style() -> Iterator[None]:
    """Draw and write figures for a paper while the context lasts, whatever a matplotlibrc says."""
    with matplotlib.style.context(["default", _STYLE]), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph")  # missing_letters() says which
        yield


def looks(index: int) -> dict[str, Any]:
    """Return colour, dashes and marker of the line of this index.

    Any two of the first thirty differ in grey as well.
    """
    return {
        "color": _COLOURS[index % len(_COLOURS)],
        "linestyle": _DASHES[index % len(_DASHES)],
        "marker": _MARKERS[index % len(_MARKERS)],
        "markeredgecolor": "white",
        "markeredgewidth": 0.3,
    }


def printable(text: str) -> str:
    """Replace control characters by a sign that something was there, so that any format can show a name."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)


def missing_letters(figure: Figure) -> str:
    """Return the letters of a figure that its font lacks, each once."""
    known = get_font(findfont("DejaVu Sans")).get_charmap()
    words = "".join(text.get_text() for text in figure.findobj(Text) if isinstance(text, Text))
    return "".join(dict.fromkeys(c for c in words if c != "\n" and ord(c) not in known))


def legend_below(figure: Figure, handles: Sequence[Artist], labels: Sequence[str]) -> float:
    """Add a legend under the figure in as many columns as fit, and return its height in inches."""
    renderer: Any = FigureCanvasAgg(figure).get_renderer()
    for columns in range(min(len(handles), 6), 0, -1):
        legend = figure.legend(
            handles,
            [str(i) for i in range(len(labels))],  # names that begin with an underscore would be skipped
            loc="outside lower center",
            ncols=columns,
            frameon=False,
            handlelength=2.6,
            columnspacing=1.2,
            handletextpad=0.5,
            labelspacing=0.35,
        )
        for text, label in zip(legend.get_texts(), labels, strict=True):
            text.set_text(label)
        size = legend.get_window_extent(renderer)
        if columns == 1 or size.width < 0.98 * figure.bbox.width:
            break
        legend.remove()
    return float(size.height / figure.dpi)


def check_form(file: Path) -> str:
    """Return the format that a file's ending stands for. Raises UsageError for an unknown one."""
    form = file.suffix.removeprefix(".").lower()
    if not form:
        expected = ", ".join(f".{form}" for form in FORMATS)
        raise UsageError(f"{str(file)!r} has no ending that says its format; expected {expected}.")
    if form not in FORMATS:
        raise unknown("format of a figure", form, FORMATS)
    return form


def encoded(figure: Figure, form: str, caption: str) -> bytes:
    """Encode a figure in one of ``FORMATS``; equal figures give equal bytes.

    Call it within ``paper_style``.
    """
    metadata: dict[str, dict[str, Any]] = {
        "pdf": {"Creator": "distill-bench", "Subject": caption, "CreationDate": None},
        "svg": {"Creator": "distill-bench", "Description": caption, "Date": None},
        "png": {"Software": "distill-bench", "Description": caption},
    }
    buffer = io.BytesIO()
    figure.savefig(buffer, format=form, metadata=metadata[form])
    return buffer.getvalue()
