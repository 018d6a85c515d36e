"""Builds one HTML file: markup, style, modules, LiteRT.js, models, catalogue.

Modules become `data:` addresses in an import map, because a page opened from disk may not import
other files. Everything else is gzip in base64, which the page unpacks with `DecompressionStream`.
The content security policy forbids all connections but those to hosts of pictures, which the page
names.
"""

import base64
import functools
import gzip
import html
import json
import re
from importlib import resources
from typing import Any

from flaxrec.demo.content import Content
from flaxrec.demo.litertjs import Runtime

GENERATOR = "flaxrec.demo"
MARK = f'<meta name="generator" content="{GENERATOR}">'  # marks the head of every page
POLICY = "; ".join(
    [
        "default-src 'none'",
        "script-src 'unsafe-inline' 'wasm-unsafe-eval' data:",
        "style-src 'unsafe-inline'",
        "img-src data:",
        "connect-src 'none'",
        "base-uri 'none'",
        "form-action 'none'",
    ]
)
_MANY_GENRES = 24  # as in static/combobox.js
_STATIC = resources.files("flaxrec.demo") / "static"


def build(content: Content, runtime: Runtime) -> str:
    """The page's HTML for at least one model: about 4 MB plus 4/3 of the compressed exports."""
    assets = content.assets | {"loader": runtime.loader, "wasm": runtime.wasm}
    parts = {
        "policy": POLICY.replace("img-src data:", " ".join(["img-src data:", *content.hosts])),
        "generator": GENERATOR,
        "style": _static("style.css"),
        "modules": _json({"imports": _modules(runtime)}),
        "models": _json(content.models),
        "assets": "\n".join(_asset(name, data) for name, data in assets.items()),
        **_opening(content),
    }
    return re.sub(r"\{\{(\w+)\}\}", lambda match: parts[match[1]], _static("index.html"))


def _opening(content: Content) -> dict[str, str]:
    """The markup before any script runs, so that nothing moves when the model is ready."""
    genres = content.first["genres"] or {"field": "", "names": []}
    chips = [
        f'<button type="button" aria-pressed="false">{html.escape(name)}</button>'
        for name in genres["names"][:_MANY_GENRES]
    ]
    return {
        "switch": "".join(_choice(number, model) for number, model in enumerate(content.models)),
        "one_model": _hidden(len(content.models) < 2),
        "hosts": html.escape(", ".join(content.hosts)),
        "no_hosts": _hidden(not content.hosts),
        "titled": _hidden(bool(content.first["titles"])),
        "genre_field": html.escape(genres["field"]),
        "chips": "".join(chips),
        "no_genres": _hidden(not chips),
    }


def _choice(number: int, model: dict[str, Any]) -> str:
    figures = model["figures"]
    size = f"{figures['bytes'] / 1e6:.2f} MB, {figures['recipe']}"
    return (
        f'<label><input type="radio" name="model" value="{number}">'
        f"<b>{html.escape(model['label'])}</b><small>{html.escape(size)}</small></label>"
    )


def _hidden(is_hidden: bool) -> str:
    return " hidden" if is_hidden else ""


def _modules(runtime: Runtime) -> dict[str, str]:
    """Addresses by module name, as used in imports."""
    modules = {
        f"demo/{file.name}": re.sub(r'(from\s+|import\s+)"\./', r'\1"demo/', _static(file.name))
        for file in sorted(_STATIC.iterdir(), key=lambda file: file.name)
        if file.name.endswith(".js")
    }
    addresses = {
        # Without a name, stack traces show the whole address.
        name: _address(f"{source}\n//# sourceURL={name}\n".encode())
        for name, source in modules.items()
    }
    return addresses | {
        "@litertjs/core": _address(runtime.core),
        "@litertjs/wasm-utils": _address(runtime.utilities),
    }


def _address(source: bytes) -> str:
    return "data:text/javascript;charset=utf-8;base64," + base64.b64encode(source).decode()


@functools.lru_cache(maxsize=8)  # mostly for the runtime's files
def _asset(name: str, data: bytes) -> str:
    packed = base64.b64encode(gzip.compress(data, 9, mtime=0)).decode()
    return f'<script type="application/octet-stream" id="asset-{name}">{packed}</script>'


def _json(value: object) -> str:
    """JSON that is safe in a script element."""
    return json.dumps(value).replace("<", "\\u003c")


def _static(name: str) -> str:
    return (_STATIC / name).read_text(encoding="utf-8")
