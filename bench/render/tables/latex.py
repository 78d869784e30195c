"""A sheet as a booktabs tabular."""

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


def latex(sheet: Sheet) -> str:
    r"""Return a tabular that needs the package booktabs alone.

    The best is bold, the second underlined, and published rows are in italics; methods have ``\cite``
    keys, and footnotes stand below.
    """
    rows = []
    for i, section in enumerate(sheet.sections):
        if i:
            rows.append(r"\midrule")
        if section.title:
            rows.append(
                rf"\multicolumn{{{len(sheet.titles)}}}{{l}}{{\emph{{{escaped(section.title)}}}}} \\"
            )
        rows += [" & ".join(map(_cell, row)) + r" \\" for row in section.rows]
    notes = [(f"{_mark(mark)} " if mark else "") + escaped(sentence) for mark, sentence in sheet.notes]
    footer = [r"\par\smallskip", r"{\footnotesize\raggedright", *(f"{note}\\par" for note in notes), "}"]
    return "\n".join(
        [
            rf"\begin{{tabular}}{{{''.join('l' if words else 'r' for words in sheet.words)}}}",
            r"\toprule",
            " & ".join(map(escaped, sheet.titles)) + r" \\",
            r"\midrule",
            *rows,
            r"\bottomrule",
            r"\end{tabular}",
            *(footer if notes else []),
        ]
    )


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


def _cell(cell: Cell) -> str:
    text = _STYLES[cell.style] % escaped(cell.text)
    cite = rf"~\cite{{{cell.cite}}}" if cell.cite else ""
    return text + cite + (_mark(*cell.marks) if cell.marks else "")


def _mark(*marks: str) -> str:
    inside = ",".join(r"\dagger" if mark == TIED else rf"\mathrm{{{mark}}}" for mark in marks)
    return f"$^{{{inside}}}$"
