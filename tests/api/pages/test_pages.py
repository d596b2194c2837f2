"""HTML pages load nothing from other hosts, have sufficient contrast, and break long words."""

from __future__ import annotations

import re
from itertools import product

import pytest

from api.reference.assets import FILES

OURS = ["/", "/api/v1/docs/problems"]
"""Pages whose styles are our own."""

CONTRAST_MIN = 4.5
"""Of text of normal size (WCAG 2.2, 1.4.3)."""

BACKGROUNDS = {"--paper", "--code", "--target", "--canvas", "--sunken"}
TEXTS = {"--ink", "--soft", "--link", "--bad"}
ON_THEIR_OWN = {
    ("--good", "--good-wash"),
    ("--warn", "--warn-wash"),
    ("--bad", "--bad-wash"),
    ("--on-accent", "--accent"),
    ("--on-accent", "--accent-strong"),
    ("--link", "--accent-wash"),
}
"""Colours of text that has a background of its own."""

_DARK = re.compile(r"@media \(prefers-color-scheme: dark\) \{\s*:root \{([^}]*)\}\s*\}")
_COLOURS = re.compile(r"(--[a-z-]+): (#[0-9a-f]{3,6})")
_STYLESHEET = re.compile(r'<link rel="stylesheet" href="([^"]+)">')


async def _style_of(client, path):
    """The style of a page: its one stylesheet, or what is in the page."""
    page = (await client.get(path)).text
    linked = _STYLESHEET.findall(page)
    if linked:
        return (await client.get(*linked)).text
    return page.partition("<style>")[2].partition("</style>")[0]


def _luminance(colour):
    digits = colour[1:] if len(colour) == 7 else "".join(digit * 2 for digit in colour[1:])
    channels = [int(digits[at : at + 2], 16) / 255 for at in (0, 2, 4)]
    red, green, blue = [each / 12.92 if each <= 0.04045 else ((each + 0.055) / 1.055) ** 2.4 for each in channels]
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def _contrast(one, other):
    lighter, darker = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


@pytest.mark.parametrize("path", OURS)
async def test_text_stands_out_in_the_light_and_in_the_dark(client, path):
    style = await _style_of(client, path)
    dark_style = _DARK.search(style)[1]
    light, dark = dict(_COLOURS.findall(style.replace(dark_style, ""))), dict(_COLOURS.findall(dark_style))

    weak = {
        (scheme, text, background): round(_contrast(colours[text], colours[background]), 2)
        for scheme, colours in (("light", light), ("dark", light | dark))
        for text, background in {*product(TEXTS, BACKGROUNDS), *ON_THEIR_OWN}
        if {text, background} <= colours.keys() and _contrast(colours[text], colours[background]) < CONTRAST_MIN
    }

    assert weak == {}
    assert set(light) - {"--hue", "--hue-wash"} == set(dark) >= {"--ink", "--soft", "--paper"}
    assert not re.search(r"(?:color|background|shadow): [^;}]*#", style), "colours are named once, in :root"


@pytest.mark.parametrize("path", OURS)
async def test_a_word_that_is_too_long_is_broken(client, path):
    style = await _style_of(client, path)

    assert re.search(r"body \{[^}]*overflow-wrap: anywhere", style)


@pytest.mark.parametrize("name", sorted(FILES))
async def test_no_script_or_style_loads_a_picture_from_another_host(client, name):
    content = (await client.get(f"/api/v1/docs/assets/{name}")).content

    assert re.findall(rb"""(?:src\s*[:=]\s*["']|url\(["']?)https?://[^"')]+""", content) == []


async def test_swagger_ui_asks_no_other_host_and_follows_the_dark(client):
    page = (await client.get("/api/v1/docs")).text
    styles = (await client.get("/api/v1/docs/assets/swagger-ui.css")).text

    assert "validatorUrl: null" in page
    assert "prefers-color-scheme: dark" in page
    assert 'classList.toggle("dark-mode"' in page
    assert "html.dark-mode" in styles


async def test_redoc_follows_the_dark_and_its_text_stands_out_there(client):
    page = (await client.get("/api/v1/redoc")).text
    theme = page[page.index("darkTheme = {") : page.index("const show")]
    texts = set(re.findall(r"(?:main|primary|secondary|textColor|color): \"(#[0-9a-f]{6})\"", theme))
    (paper,) = re.findall(r"prefers-color-scheme: dark\) \{ :root \{ --paper: (#[0-9a-f]{6})", page)

    assert 'dark.addEventListener("change", show)' in page
    assert len(texts) >= 5
    assert {text for text in texts if _contrast(text, paper) < CONTRAST_MIN} == set()
