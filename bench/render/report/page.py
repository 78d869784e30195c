"""The page of a report: the data within its parts, which lie beside this file, in one HTML file.

The page fetches nothing.
"""

import base64
import hashlib
import json
import re
from pathlib import Path
from typing import Any

_PARTS = Path(__file__).parent
_SCRIPTS = ("common", "details", "table", "curves", "samples", "page")
_HTML = {ord(c): f"\\u{ord(c):04x}" for c in "<>&"}


def page(content: dict[str, Any]) -> str:
    """Return the whole page.

    Whatever a record holds is text in it: the data can end no element, and only the page's own script
    may run.
    """
    style = (_PARTS / "page.css").read_text(encoding="utf-8")
    script = "\n".join((_PARTS / f"{name}.js").read_text(encoding="utf-8") for name in _SCRIPTS)
    script = f'"use strict";\n(() => {{\n{script}}})();\n'
    sources = f"style-src {_hash(style)}; script-src {_hash(script)}; img-src data:"
    policy = f"default-src 'none'; {sources}; base-uri 'none'"
    filled = {"policy": policy, "style": style, "data": as_json(content), "script": script}
    template = (_PARTS / "page.html").read_text(encoding="utf-8")
    # in one pass, so that nothing within the data is filled in
    return re.sub(r"\{\{(\w+)\}\}", lambda match: filled[match[1]], template)


def as_json(content: dict[str, Any]) -> str:
    """Return JSON in ASCII in which neither ``</script>`` nor ``<!--`` can occur."""
    return json.dumps(content, ensure_ascii=True, allow_nan=False, separators=(",", ":")).translate(
        _HTML
    )


def _hash(text: str) -> str:
    """Return a source of the page's Content-Security-Policy that allows exactly this text."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
