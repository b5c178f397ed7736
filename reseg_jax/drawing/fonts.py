"""A font for a text in any script: Pillow's own, one of the system's, or a text that one can draw.

Pillow's own font has the letters of English only. What no font has would be drawn as empty boxes:
it is written without its accents, or else as Python escapes it, and that is said once.
"""

import functools
import logging
import os
import unicodedata

from PIL import ImageFont

TEXT = 13  # pixels: the smallest size at which Pillow's default font reads well

FONTS = (
    *("DejaVuSans.ttf", "NotoSans-Regular.ttf", "LiberationSans-Regular.ttf", "Arial.ttf"),
    *("NotoSansCJK-Regular.ttc", "NotoSansCJKsc-Regular.otf", "wqy-zenhei.ttc", "wqy-microhei.ttc"),
    *("DroidSansFallback.ttf", "DroidSansFallbackFull.ttf", "PingFang.ttc", "Hiragino Sans GB.ttc"),
    *("AppleSDGothicNeo.ttc", "msyh.ttc", "msgothic.ttc", "malgun.ttf", "NanumGothic.ttf"),
    *("NotoSansArabic-Regular.ttf", "NotoSansHebrew-Regular.ttf", "NotoSansDevanagari-Regular.ttf"),
    *(
        "NotoSansThai-Regular.ttf",
        "Nirmala.ttf",
        "Arial Unicode.ttf",
        "FreeSans.ttf",
        "unifont.ttf",
    ),
)
"""File names of fonts with many scripts, as Linux, macOS and Windows come with them; Pillow looks
for them where these systems keep fonts. $RESEG_FONT, a file, comes first."""

NO_LETTER = "\U0010ffff"  # no font has it: this is what a missing letter looks like

_log = logging.getLogger(__name__)


def fitting(text: str) -> tuple[ImageFont.FreeTypeFont, str]:
    """A font for a text, and what of it to draw.

    Args:
      text: in any script.

    Returns:
      (font, text); the text is the one that was given if any font here has all its letters,
      otherwise one in English letters, which is logged once.
    """
    fonts = [ImageFont.load_default(TEXT), *_of_the_system(os.environ.get("RESEG_FONT"))]
    for font in fonts:
        if _has_all(font, text):
            return font, text
    _say_missing(text)
    apart = unicodedata.normalize("NFKD", text)
    plain = "".join(letter for letter in apart if not unicodedata.combining(letter))
    if _has_all(fonts[0], plain):
        return fonts[0], plain
    return fonts[0], text.encode("ascii", "backslashreplace").decode("ascii")


@functools.cache
def _of_the_system(own):
    found = []
    for name in (own, *FONTS) if own else FONTS:
        try:
            found.append(ImageFont.truetype(name, TEXT))
        except OSError:
            if name == own:
                _log.warning("warning: RESEG_FONT=%s is no font file: it is not used", own)
    return found


def _has_all(font, text):
    return not any(_is_missing(font, letter) for letter in text if not letter.isspace())


def _is_missing(font, letter):
    box, mask = font.getmask(NO_LETTER), font.getmask(letter)
    return mask.size == box.size and bytes(mask) == bytes(box)


@functools.cache
def _say_missing(text):
    _log.warning(
        "warning: no font here has all letters of %s: pictures show it in others; name a font file "
        "that has them by RESEG_FONT",
        text,
    )
