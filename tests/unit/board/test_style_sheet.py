"""The contrast of the style sheet's colours is computed from its tokens."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from pathlib import Path

import pytest

from include.dsar.board import rendering
from include.dsar.model import State, Status

CSS = (Path(rendering.__file__).parent / "static/board.css").read_text()
MIN_CONTRAST = 4.5  # WCAG 2.2, 1.4.3: text of normal size

Tokens = Mapping[str, str]
Oklch = tuple[float, float, float]


def declarations(selector: str) -> dict[str, str]:
    """Returns the declarations of exactly this selector. A later declaration overrides an earlier one."""
    found: dict[str, str] = {}
    for selectors, body in re.findall(
        r"([^{}]+)\{([^{}]*)\}", re.sub(r"/\*.*?\*/", "", CSS, flags=re.DOTALL)
    ):
        if selector in [each.strip() for each in selectors.split(",")]:
            found |= {
                name.strip(): value.strip()
                for name, value in (each.split(":", 1) for each in body.split(";") if each.strip())
            }
    return found


LIGHT = {name: value for name, value in declarations(":root").items() if name.startswith("--")}
DARK = LIGHT | {name: value for name, value in declarations(":root.dark").items() if name.startswith("--")}
THEMES = pytest.mark.parametrize("tokens", [LIGHT, DARK], ids=["light", "dark"])


def resolved(value: str, tokens: Tokens) -> str:
    """Returns the value with each var() replaced."""
    while match := re.search(r"var\((--[\w-]+)(?:, (var\(--[\w-]+\)))?\)", value):
        value = value.replace(match[0], tokens.get(match[1]) or match[2])
    return value


def colour(value: str, tokens: Tokens) -> Oklch:
    """Parse `white`, `oklch(L C h)`, or `oklch(from <colour> min(l, <most>) c h)`."""
    text = resolved(value, tokens)
    if text == "white":
        return 1.0, 0.0, 0.0
    if match := re.fullmatch(r"oklch\(from (.+) min\(l, ([\d.]+)\) c h\)", text):
        lightness, chroma, hue = colour(match[1], tokens)
        return min(lightness, float(match[2])), chroma, hue
    match = re.fullmatch(r"oklch\(([\d.]+) ([\d.]+) ([\d.]+)\)", text)
    assert match, text
    return float(match[1]), float(match[2]), float(match[3])


def luminance(of: Oklch) -> float:
    """Returns the luminance of an OKLCH colour, limited to colours that a screen can show.

    The formula is from https://bottosson.github.io/posts/oklab.
    """
    lightness, chroma, hue = of
    a, b = chroma * math.cos(math.radians(hue)), chroma * math.sin(math.radians(hue))
    cone = (
        (lightness + 0.3963377774 * a + 0.2158037573 * b) ** 3,
        (lightness - 0.1055613458 * a - 0.0638541728 * b) ** 3,
        (lightness - 0.0894841775 * a - 1.2914855480 * b) ** 3,
    )
    rows = (
        (0.2126, (4.0767416621, -3.3077115913, 0.2309699292)),
        (0.7152, (-1.2684380046, 2.6097574011, -0.3413193965)),
        (0.0722, (-0.0041960863, -0.7034186147, 1.7076147010)),
    )
    return sum(
        weight * min(max(sum(x * y for x, y in zip(row, cone, strict=True)), 0), 1) for weight, row in rows
    )


def contrast(one: Oklch, other: Oklch) -> float:
    darker, lighter = sorted((luminance(one), luminance(other)))
    return (lighter + 0.05) / (darker + 0.05)


def test_the_contrast_is_computed_as_in_wcag() -> None:
    """Black on white has a contrast of 21:1. A browser measured the contrast of white on Airflow's green."""
    assert contrast((0, 0, 0), (1, 0, 0)) == pytest.approx(21, abs=0.01)
    assert contrast((0.47, 0.2, 149), (1, 0, 0)) == pytest.approx(5.88, abs=0.05)


@THEMES
@pytest.mark.parametrize(
    "mark",
    [*sorted({*State, Status.IN_PROGRESS, Status.PARTIAL}), "overdue", "urgent", "soon", "calm", "unknown"],
)
def test_badges_and_counts_have_enough_contrast(tokens: Tokens, mark: str) -> None:
    """A state without its own colour has enough contrast too."""
    own = declarations(f".badge.is-{mark}")
    if own.get("background") == "transparent":
        assert own["color"] == "var(--fg-muted)"
        return
    badge = declarations(".badge")
    marked = {**tokens, **declarations(f".is-{mark}")}
    assert contrast(colour(badge["color"], marked), colour(badge["background"], marked)) >= MIN_CONTRAST


@THEMES
@pytest.mark.parametrize(
    "selector", ["body", "a", ".quiet", ".due.is-overdue", ".due.is-urgent", ".tabs a", "summary"]
)
@pytest.mark.parametrize("ground", ["--bg", "--bg-muted", "--bg-subtle", "--bg-warning"])
def test_text_has_enough_contrast_on_every_background(tokens: Tokens, selector: str, ground: str) -> None:
    """The backgrounds are the page, a striped row, a hovered card and a notice."""
    text = colour(declarations(selector)["color"], tokens)
    assert contrast(text, colour(tokens[ground], tokens)) >= MIN_CONTRAST


@THEMES
def test_buttons_have_enough_contrast(tokens: Tokens) -> None:
    button = declarations("button")
    assert contrast(colour(button["color"], tokens), colour(button["background"], tokens)) >= MIN_CONTRAST


def test_tokens_are_exactly_those_that_the_style_sheet_uses() -> None:
    """The style sheet uses exactly the tokens that it defines. The script copies no other tokens from
    Airflow.
    """
    script = (Path(rendering.__file__).parent / "static/board.js").read_text()
    taken = set(re.findall(r'"([\w-]+)"', script.split("TOKENS = [")[1].split("]")[0]))
    used = {name.removeprefix("--") for name in re.findall(r"var\((--[\w-]+)", CSS)}
    known = {name.removeprefix("--") for name in LIGHT}
    assert used - {"mark"} == known
    assert taken <= known
