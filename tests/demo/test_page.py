"""The page's file: whole in itself, safe with any text, readable in both schemes."""

import base64
import gzip
import json
import re
from importlib import resources

import pytest

from flaxrec.demo import page
from flaxrec.demo.content import Content
from flaxrec.demo.litertjs import Runtime

RUNTIME = Runtime(b"export {}", b"export {}", b"loader </script>", b"\0asm")
STATIC = resources.files("flaxrec.demo") / "static"


def build(**content) -> str:
    made = Content()
    for name, value in content.items():
        setattr(made, name, value)
    return page.build(made, RUNTIME)


def element(built: str, pattern: str) -> str:
    (found,) = re.findall(rf"<script {pattern}>(.*?)</script>", built, re.DOTALL)
    return found


def test_nothing_is_outside():
    built = build()
    own = re.sub(r'"data:text/javascript[^"]*"', '""', built)
    addresses = re.findall(r"(?:https?:)?//[\w.-]+\.\w+[^\s\"']*", own)
    assert addresses == ["http://www.w3.org/2000/svg"]  # a name space
    assert not re.search(r"(?:src|href)=\"(?!data:|#)", built)
    assert not re.search(r"\{\{\w+\}\}", built)
    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', built)[1]
    assert "default-src 'none'" in policy
    assert "connect-src 'none'" in policy
    assert "http" not in policy


def test_hosts_of_pictures_are_allowed_and_named():
    built = build(hosts=["https://a.example", "https://b.example:8443"])
    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', built)[1]
    assert "; img-src data: https://a.example https://b.example:8443; connect-src 'none'" in policy
    assert '"notice" id="pictures">Pictures are loaded from https://a.example, https://b' in built
    assert '"notice" id="pictures" hidden>' in build()


def test_every_module_imports_what_is_there():
    modules = json.loads(element(build(), 'type="importmap"'))["imports"]
    names = {file.name for file in STATIC.iterdir() if file.name.endswith(".js")}
    assert set(modules) == {f"demo/{n}" for n in names} | {
        "@litertjs/core",
        "@litertjs/wasm-utils",
    }
    for name, address in modules.items():
        source = base64.b64decode(address.partition("base64,")[2]).decode()
        imported = re.findall(r'(?:from|import)\s+"([^"]+)"', source)
        assert set(imported) <= set(modules), name


def test_assets_survive():
    assets = {"a": b"x" * 1000, "b": "é</script>".encode()}
    built = build(assets=assets)
    for name, data in (assets | {"loader": RUNTIME.loader, "wasm": RUNTIME.wasm}).items():
        held = element(built, f'type="application/octet-stream" id="asset-{name}"')
        assert gzip.decompress(base64.b64decode(held)) == data


def test_names_cannot_break_out():
    name = "</script><script>alert(1)</script> {{style}} \\1"
    figures = {"name": name, "bytes": 1_234_567, "recipe": "int8"}
    models = [{"label": name, "figures": figures}] * 2
    genres = {"field": '"><script>', "names": ["<b>Drama</b>", "War"]}
    built = build(models=models, first={"titles": ["a"], "genres": genres})
    assert built.count("&lt;/script&gt;&lt;script&gt;alert(1)&lt;/script&gt; {{style}} \\1") == 2
    assert "<small>1.23 MB, int8</small>" in built
    assert 'aria-label="&quot;&gt;&lt;script&gt;"' in built
    assert ">&lt;b&gt;Drama&lt;/b&gt;</button>" in built
    held = element(built, 'type="application/json" id="exports"')
    assert json.loads(held) == models
    assert "alert(1)</script>" not in built


def test_the_same_exports_make_the_same_bytes():
    assert build(assets={"a": b"1"}) == build(assets={"a": b"1"})


# ---- contrast, WCAG 2.2 -----------------------------------------------------------------------

TEXT = [
    ("ink", "ground surface sunken raised tint"),
    ("muted", "ground surface sunken raised tint"),
    ("accent", "ground surface tint"),
    ("on-accent", "accent"),
    ("warn", "warn-ground"),
]
# Edges of what is operated, bars, the focus ring.
GRAPHICS = [("edge", "ground surface"), ("accent", "ground surface sunken raised line")]


def luminance(colour: str) -> float:
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return sum(w * c for w, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def contrast(a: str, b: str) -> float:
    low, high = sorted([luminance(a), luminance(b)])
    return (high + 0.05) / (low + 0.05)


def test_contrast_is_reckoned_rightly():
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.005)


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
def test_colours_can_be_told_apart(scheme):
    style = (STATIC / "style.css").read_text(encoding="utf-8")
    pairs = re.findall(r"--([\w-]+): light-dark\((#\w{6}), (#\w{6})\)", style)
    colours = {name: both[scheme] for name, *both in pairs}
    too_low = [
        (text, ground, round(contrast(colours[text], colours[ground]), 2))
        for least, rules in ((4.5, TEXT), (3.0, GRAPHICS))
        for text, grounds in rules
        for ground in grounds.split()
        if contrast(colours[text], colours[ground]) < least
    ]
    assert too_low == []
