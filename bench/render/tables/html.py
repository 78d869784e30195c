"""A sheet as one self-contained HTML page, without scripts and with nothing to load."""

from html import escape

from bench.render.tables.sheet import Cell, Sheet, superscript

_STYLE = """
body { font: 15px/1.4 system-ui, sans-serif; margin: 2em; color: #111; background: #fff }
table { border-collapse: collapse; border-top: 2px solid; border-bottom: 2px solid }
th, td { padding: .25em .8em .25em 0; text-align: right; white-space: nowrap }
.words { text-align: left; white-space: normal }
thead, tbody + tbody { border-top: 1px solid #999 }
thead { border-top: 0; border-bottom: 1px solid #999 }
.published { font-style: italic; color: #555 }
footer { font-size: .85em; margin-top: 1em; max-width: 60em }
@media (prefers-color-scheme: dark) { body { color: #ddd; background: #111 } .published { color: #aaa } }
"""

_STYLES = {"plain": "%s", "best": "<b>%s</b>", "second": "<u>%s</u>", "published": "%s"}


def html(sheet: Sheet) -> str:
    """Return a page of the table alone."""
    return "\n".join(
        [
            '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width">\n<title>Leaderboard</title>',
            f"<style>{_STYLE}</style>\n</head>\n<body>",
            fragment(sheet),
            "</body>\n</html>",
        ]
    )


def fragment(sheet: Sheet) -> str:
    """Return a table whose best is bold and whose second is underlined, to stand in any page.

    Each teacher's rows are a body of their own, and so are the published ones; footnotes stand below.
    """
    titles = zip(sheet.titles, sheet.words, strict=True)
    head = "".join(f'<th scope="col"{_class(words)}>{escape(title)}</th>' for title, words in titles)
    bodies = []
    for section in sheet.sections:
        title = (
            f'<tr><th class="words" colspan="{len(sheet.titles)}">{escape(section.title)}</th></tr>\n'
        )
        pairs = (zip(row, sheet.words, strict=True) for row in section.rows)
        cells = (
            "".join(f"<td{_class(words)}>{_cell(cell)}</td>" for cell, words in row) for row in pairs
        )
        rows = "\n".join(f"<tr>{row}</tr>" for row in cells)
        kind = ' class="published"' if section.published else ""
        bodies.append(f"<tbody{kind}>\n{title if section.title else ''}{rows}\n</tbody>")
    notes = "\n".join(
        f"<p>{superscript(*filter(None, [mark]))} {escape(text)}</p>" for mark, text in sheet.notes
    )
    footer = [f"<footer>\n{notes}\n</footer>"] if notes else []
    return "\n".join([f"<table>\n<thead><tr>{head}</tr></thead>", *bodies, "</table>", *footer])


def _class(words: bool) -> str:
    return ' class="words"' if words else ""


def _cell(cell: Cell) -> str:
    return _STYLES[cell.style] % escape(cell.text) + superscript(*cell.marks)
