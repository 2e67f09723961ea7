"""What can be read: the contrast of the style sheet's colours, computed from its own tokens."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from pathlib import Path

import pytest

from include.dsar.board import rendering
from include.dsar.model import State, Status

CSS = (Path(rendering.__file__).parent / "static/board.css").read_text()
LEAST = 4.5  # WCAG 2.2, 1.4.3: text of ordinary size

Tokens = Mapping[str, str]
Oklch = tuple[float, float, float]


def declarations(selector: str) -> dict[str, str]:
    """What the rules of exactly this selector say, the later ones winning."""
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
    """Without any var()."""
    while match := re.search(r"var\((--[\w-]+)(?:, (var\(--[\w-]+\)))?\)", value):
        value = value.replace(match[0], tokens.get(match[1]) or match[2])
    return value


def colour(value: str, tokens: Tokens) -> Oklch:
    """`white`, `oklch(L C h)`, or `oklch(from <colour> min(l, <most>) c h)`."""
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
    """By https://bottosson.github.io/posts/oklab, what the screen cannot show cut off."""
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


def test_contrast_is_that_of_wcag() -> None:
    """Black on white is 21:1; Airflow's own green below white was measured in a browser."""
    assert contrast((0, 0, 0), (1, 0, 0)) == pytest.approx(21, abs=0.01)
    assert contrast((0.47, 0.2, 149), (1, 0, 0)) == pytest.approx(5.88, abs=0.05)


@THEMES
@pytest.mark.parametrize(
    "mark",
    [*sorted({*State, Status.IN_PROGRESS, Status.PARTIAL}), "overdue", "urgent", "soon", "calm", "unknown"],
)
def test_white_is_read_on_every_badge_and_count(tokens: Tokens, mark: str) -> None:
    """A state without a colour of its own too."""
    own = declarations(f".badge.is-{mark}")
    if own.get("background") == "transparent":
        assert own["color"] == "var(--fg-muted)"
        return
    badge = declarations(".badge")
    marked = {**tokens, **declarations(f".is-{mark}")}
    assert contrast(colour(badge["color"], marked), colour(badge["background"], marked)) >= LEAST


@THEMES
@pytest.mark.parametrize(
    "selector", ["body", "a", ".quiet", ".due.is-overdue", ".due.is-urgent", ".tabs a", "summary"]
)
@pytest.mark.parametrize("ground", ["--bg", "--bg-muted", "--bg-subtle", "--bg-warning"])
def test_text_is_read_on_every_ground(tokens: Tokens, selector: str, ground: str) -> None:
    """On a page, a striped row, a card under the mouse, and a notice."""
    text = colour(declarations(selector)["color"], tokens)
    assert contrast(text, colour(tokens[ground], tokens)) >= LEAST


@THEMES
def test_a_button_is_read(tokens: Tokens) -> None:
    """In the brand's colours."""
    button = declarations("button")
    assert contrast(colour(button["color"], tokens), colour(button["background"], tokens)) >= LEAST


def test_every_token_is_used_and_every_one_that_is_used_is_there() -> None:
    """By the style sheet; what the script takes over from Airflow is among them."""
    script = (Path(rendering.__file__).parent / "static/board.js").read_text()
    taken = set(re.findall(r'"([\w-]+)"', script.split("TOKENS = [")[1].split("]")[0]))
    used = {name.removeprefix("--") for name in re.findall(r"var\((--[\w-]+)", CSS)}
    known = {name.removeprefix("--") for name in LIGHT}
    assert used - {"mark"} == known
    assert taken <= known
