"""A sheet as a booktabs tabular."""

from __future__ import annotations

from bench.render.tables.sheet import TIED, Cell, Sheet

_SPECIAL = (
    {c: f"\\{c}" for c in "&%$#_{}"}
    | {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    | {"<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}", '"': "''"}
    | {"↓": r"$\downarrow$", "↑": r"$\uparrow$", "±": r"$\pm$"}
)


def latex(sheet: Sheet) -> str:
    r"""Best in bold, second underlined, published rows in italics, ``\cite`` keys, and footnotes below; needs booktabs alone."""
    rows = []
    for i, section in enumerate(sheet.sections):
        if i:
            rows.append(r"\midrule")
        if section.title:
            rows.append(rf"\multicolumn{{{len(sheet.titles)}}}{{l}}{{\emph{{{escaped(section.title)}}}}} \\")
        rows += [" & ".join(_cell(cell, section.published) for cell in row) + r" \\" for row in section.rows]
    notes = [(f"{_mark(mark)} " if mark else "") + escaped(sentence) for mark, sentence in sheet.notes]
    return "\n".join(
        [
            rf"\begin{{tabular}}{{{''.join('l' if words else 'r' for words in sheet.words)}}}",
            r"\toprule",
            " & ".join(escaped(title) for title in sheet.titles) + r" \\",
            r"\midrule",
            *rows,
            r"\bottomrule",
            r"\end{tabular}",
            *([r"\par\smallskip", r"{\footnotesize\raggedright", *(f"{note}\\par" for note in notes), "}"] if notes else []),
        ]
    )


def escaped(text: str) -> str:
    """Text that LaTeX sets as it is; what pdfLaTeX has no letter for is shown by its code point there, and as it is elsewhere."""
    guard = "{}" if text.startswith(("[", "*")) else ""  # which the end of the row before would take for its argument
    return guard + "".join(_SPECIAL.get(c) or _letter(c) for c in text)


def _letter(c: str) -> str:
    if c.isascii():
        return c
    if c in "ÀÁÂÃÄÅÆÇÈÉÊËÌÍÎÏÑÒÓÔÕÖØÙÚÛÜÝßàáâãäåæçèéêëìíîïñòóôõöøùúûüýÿ":  # what LaTeX's first encoding has
        return c
    return rf"\ifdefined\Uchar {c}\else [U+{ord(c):04X}]\fi{{}}"  # \Uchar: XeLaTeX and LuaLaTeX


def _cell(cell: Cell, published: bool) -> str:
    text = escaped(cell.text)
    if cell.best:
        text = rf"\textbf{{{text}}}"
    elif cell.second:
        text = rf"\underline{{{text}}}"
    elif published and cell.text != "-":
        text = rf"\emph{{{text}}}"
    return text + (rf"~\cite{{{cell.cite}}}" if cell.cite else "") + (_mark(*cell.marks) if cell.marks else "")


def _mark(*marks: str) -> str:
    inside = ",".join(r"\dagger" if mark == TIED else rf"\mathrm{{{mark}}}" for mark in marks)
    return f"$^{{{inside}}}$"
