"""Legends in any script: letters that a font has, or others, and never empty boxes."""

import numpy as np
import pytest
from PIL import ImageFont

from reseg_jax.drawing import fonts
from reseg_jax.drawing.legend import draw_legend


def missing(font, text):
    """How many letters are drawn as what no font has."""
    box = font.getmask(fonts.NO_LETTER)
    return sum(bytes(font.getmask(letter)) == bytes(box) for letter in text if letter != " ")


@pytest.fixture
def no_system_fonts(monkeypatch):
    monkeypatch.setattr(fonts, "FONTS", ())
    monkeypatch.delenv("RESEG_FONT", raising=False)
    fonts._of_the_system.cache_clear()
    fonts._say_missing.cache_clear()
    yield
    fonts._of_the_system.cache_clear()


NAMES = [
    "road",
    "stra\u00dfe",
    "\u0434\u043e\u0440\u043e\u0433\u0430",
    "\u9053\u8def",
    "caf\u00e9 d'\u00e9t\u00e9",
]


@pytest.mark.parametrize("name", NAMES)
def test_no_letter_is_drawn_as_an_empty_box(name):
    font, text = fonts.fitting(name)
    assert text and missing(font, text) == 0


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("road", "road"),
        ("caf\u00e9 d'\u00e9t\u00e9", "cafe d'ete"),
        ("\u9053\u8def", r"\u9053\u8def"),
        ("tab\tand \U0001f697", "tab\tand \\U0001f697"),
    ],
)
def test_without_a_font_there_are_other_letters_and_a_word(no_system_fonts, caplog, name, expected):
    for _ in range(2):
        font, text = fonts.fitting(name)
        assert text == expected and missing(font, text.replace("\t", "")) == 0
    assert caplog.text.count("RESEG_FONT") == (name != expected)


def test_a_font_of_ones_own_comes_first(no_system_fonts, monkeypatch, caplog):
    try:
        own = ImageFont.truetype("DejaVuSans.ttf", 13).path
    except OSError:
        pytest.skip("DejaVu Sans is not installed here")
    monkeypatch.setenv("RESEG_FONT", own)
    font, text = fonts.fitting("\u0434\u043e\u0440\u043e\u0433\u0430")
    assert (font.path, text) == (own, "\u0434\u043e\u0440\u043e\u0433\u0430")
    monkeypatch.setenv("RESEG_FONT", "nowhere.ttf")
    assert fonts.fitting("road")[1] == "road"
    assert "RESEG_FONT=nowhere.ttf is no font file" in caplog.text


def test_a_legend_of_many_scripts_is_drawn():
    legend = draw_legend([(name, (9, 9, 9)) for name in NAMES], 100)
    assert legend.shape[1] >= 100 and len(np.unique(legend)) > 3
