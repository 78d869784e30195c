"""A sheet as a booktabs tabular."""

from collections.abc import Iterator, Sequence

from bench.render.tables.sheet import TIED, Cell, Sheet

_SPECIAL = (
    {c: f"\\{c}" for c in "&%$#_{}"}
    | {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    | {"<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}", '"': "''"}
    | {"↓": r"$\downarrow$", "↑": r"$\uparrow$", "±": r"$\pm$"}
)

_ACCENTED = "ÀÁÂÃÄÅÆÇÈÉÊËÌÍÎÏÑÒÓÔÕÖØÙÚÛÜÝßàáâãäåæçèéêëìíîïñòóôõöøùúûüýÿ"
"""Letters of the first encoding of LaTeX."""

_STYLES = {"plain": "%s", "best": r"\textbf{%s}", "second": r"\underline{%s}", "published": r"\emph{%s}"}


_LONGEST = 30
"""Letters in a cell of words; where a cell has more, its column is as wide as ``_FOLDED`` and is folded."""
_FOLDED = r"p{0.23\textwidth}"


def latex(sheet: Sheet) -> str:
    r"""Return a tabular that needs the package booktabs alone, as its first comment says.

    To save width it is set close and small, smaller with more than six columns, and the protocol of a
    metric stands below its name. The best is bold, the second underlined, and published rows are in
    italics; methods have ``\cite`` keys, and footnotes stand below.
    """
    folded = [
        words and any(len(row[i].text) > _LONGEST for section in sheet.sections for row in section.rows)
        for i, words in enumerate(sheet.words)
    ]
    kinds = ["l" if words else "r" for words in sheet.words]
    widths = [_FOLDED if fold else kind for fold, kind in zip(folded, kinds, strict=True)]
    size = r"\small" if len(sheet.titles) <= 6 else r"\footnotesize"
    notes = [(f"{_mark(mark)} " if mark else "") + escaped(sentence) for mark, sentence in sheet.notes]
    footer = [r"\par\smallskip", r"{\footnotesize\raggedright", *(f"{note}\\par" for note in notes), "}"]
    return "\n".join(
        [
            r"% Needs \usepackage{booktabs}; `bench table --bib FILE` writes what is cited.",
            rf"{{{size}\setlength{{\tabcolsep}}{{3pt}}%",
            rf"\begin{{tabular}}{{@{{}}{''.join(widths)}@{{}}}}",
            r"\toprule",
            *_head(sheet),
            r"\midrule",
            *_body(sheet, folded),
            r"\bottomrule",
            r"\end{tabular}}",
            *(footer if notes else []),
        ]
    )


def _head(sheet: Sheet) -> list[str]:
    """Return the line of the titles, and one of what stands in brackets behind some of them."""
    titles = [title.partition(" (") for title in sheet.titles]
    below = [escaped(f"({rest}") if rest else "" for _, _, rest in titles]
    lines = [[escaped(title) for title, _, _ in titles], *([below] if any(below) else [])]
    return [" & ".join(line) + r" \\" for line in lines]


def _body(sheet: Sheet, folded: Sequence[bool]) -> Iterator[str]:
    """Yield the lines of the rows, with a rule between sections."""
    for i, section in enumerate(sheet.sections):
        if i:
            yield r"\midrule"
        if section.title:
            yield rf"\multicolumn{{{len(sheet.titles)}}}{{@{{}}l}}{{\emph{{{escaped(section.title)}}}}} \\"
        for row in section.rows:
            yield " & ".join(map(_cell, row, folded)) + r" \\"


def escaped(text: str) -> str:
    """Escape text so that LaTeX sets it as it is.

    A letter that pdfLaTeX lacks is shown there by its code point, and as it is by XeLaTeX and LuaLaTeX.
    """
    # the end of the row before would take a bracket or a star for its argument
    guard = "{}" if text.startswith(("[", "*")) else ""
    return guard + "".join(_SPECIAL.get(c) or _letter(c) for c in text)


def _letter(c: str) -> str:
    if c.isascii() or c in _ACCENTED:
        return c
    return rf"\ifdefined\Uchar {c}\else [U+{ord(c):04X}]\fi{{}}"  # XeLaTeX and LuaLaTeX define \Uchar


def _cell(cell: Cell, folded: bool) -> str:
    text = _STYLES[cell.style] % escaped(cell.text)
    text += rf"~\cite{{{cell.cite}}}" if cell.cite else ""
    text += _mark(*cell.marks) if cell.marks else ""
    return rf"{{\raggedright {text}\par}}" if folded else text


def _mark(*marks: str) -> str:
    inside = ",".join(r"\dagger" if mark == TIED else rf"\mathrm{{{mark}}}" for mark in marks)
    return f"$^{{{inside}}}$"
