"""One street scene, drawn from a seed with integers only: the same bytes on every machine.

Two things far away decide what half of the scene is; nothing else in the image does.

- A board hangs high above one half of the street. The half below it is the road, the other is
  sidewalk, of the same asphalt. A vehicle on the road is a car, the same vehicle on the sidewalk
  is a bicyclist.
- Trees stand on one side. Green ones belong to a street of houses: the wall on the other side is
  a building, and the posts before it are poles. Yellow ones belong to a park: the same wall is
  its fence, and the same posts are signs.

The random numbers of a scene do not depend on its cues, so the same scene can be drawn with
others: the board moves or the trees change color, all else stays, and the far labels swap.
"""

from typing import NamedTuple

import numpy as np

from reseg_jax.labels import VOID

HEIGHT, WIDTH = 64, 96  # pixels; our choice: small enough to train on in a minute
SKY, BUILDING, POLE, ROAD, SIDEWALK, TREE, SIGN, FENCE, CAR, PEDESTRIAN, BICYCLIST = range(11)

# (red, green, blue), chosen so that one pixel distinguishes each material from most others.
BLUE_SKY, CLOUD = (115, 175, 235), (165, 205, 240)
BRICKS, WINDOW = ((150, 72, 60), (168, 88, 66), (134, 66, 66)), (96, 44, 48)
ASPHALT, CURB, HOOD = (112, 112, 116), (196, 196, 196), (44, 30, 60)
LEAVES, TRUNK = {"green": (62, 138, 56), "yellow": (222, 180, 44)}, (92, 66, 30)
METAL = (236, 232, 222)
PAINTS, WHEEL = ((38, 62, 186), (112, 44, 168), (20, 120, 160)), (24, 22, 34)
COAT, SKIN = (226, 40, 116), (244, 176, 150)
BOX, BOARD = (22, 26, 24), (24, 226, 190)


class Cues(NamedTuple):
    """What stands far away and decides.

    Attributes:
      board: above the half of the street by the "wall" or by the "trees".
      trees: "green" or "yellow".
    """

    board: str
    trees: str


class Scene(NamedTuple):
    """A drawn scene.

    Attributes:
      image: uint8 [HEIGHT, WIDTH, 3], RGB.
      label: uint8 [HEIGHT, WIDTH], 0..10 and VOID.
      cues: what decided its labels.
    """

    image: np.ndarray
    label: np.ndarray
    cues: Cues


class Canvas:
    """An image and its labels, painted over from back to front; x and y are pixel positions."""

    def __init__(self):
        self.y, self.x = np.mgrid[:HEIGHT, :WIDTH]
        self.image = np.zeros((HEIGHT, WIDTH, 3), np.int64)
        self.label = np.full((HEIGHT, WIDTH), VOID, np.uint8)

    def paint(self, mask, color, label):
        """Give the pixels of a mask a color and a label (arrays: each pixel its own)."""
        self.image[mask] = color
        self.label[mask] = np.broadcast_to(label, mask.shape)[mask]

    def box(self, left, right, top, bottom):
        """The mask of columns left..right-1 and rows top..bottom-1; bounds may be arrays."""
        return (left <= self.x) & (self.x < right) & (top <= self.y) & (self.y < bottom)

    def disc(self, x, y, a, b):
        """The mask of an ellipse around pixel (x, y) with half-axes a across and b down."""
        return (b * (self.x - x)) ** 2 + (a * (self.y - y)) ** 2 <= (a * b) ** 2


def draw(seed: list[int], cues: Cues | None = None) -> Scene:
    """The scene of a seed; other `cues` draw the same scene in another world."""
    generator = np.random.default_rng(seed)

    def pick(low, high):
        return int(generator.integers(low, high + 1))

    own = Cues(("wall", "trees")[pick(0, 1)], ("green", "yellow")[pick(0, 1)])
    cues = cues or own
    halves = (ROAD, SIDEWALK) if cues.board == "wall" else (SIDEWALK, ROAD)
    house, post = (BUILDING, POLE) if cues.trees == "green" else (FENCE, SIGN)

    canvas = Canvas()
    sky(canvas, pick)
    horizon, center = pick(32, 34), pick(46, 50)
    ground(canvas, pick, horizon, center, halves)
    wall(canvas, pick, horizon, house)
    trees(canvas, pick, horizon, LEAVES[cues.trees])
    posts(canvas, pick, horizon, post)
    vehicles(canvas, pick, horizon, center, halves)
    people(canvas, pick, horizon)
    board(canvas, pick, center, cues.board)
    canvas.paint(canvas.disc(WIDTH // 2, HEIGHT + 5, 44, 9), HOOD, VOID)  # of our own car

    light, noise = pick(112, 144), generator.integers(-8, 9, (2, HEIGHT, WIDTH, 3)).sum(0)
    image = np.clip(canvas.image * light // 128 + noise, 0, 255).astype(np.uint8)
    flip = (1, -1)[pick(0, 1)]
    return Scene(image[:, ::flip].copy(), canvas.label[:, ::flip].copy(), cues)


# Below, `pick(low, high)` draws an integer, both ends included; the wall is on the left and the
# trees are on the right, until the finished scene is mirrored or not.


def sky(canvas: Canvas, pick):
    """Blue, with clouds."""
    canvas.paint(canvas.y >= 0, BLUE_SKY, SKY)
    for _ in range(3):
        cloud = canvas.disc(pick(0, WIDTH), pick(2, 22), pick(8, 16), pick(2, 3))
        canvas.paint(cloud, CLOUD, SKY)


def ground(canvas: Canvas, pick, horizon: int, center: int, halves: tuple[int, int]):
    """Slabs that widen from the vanishing point toward us, and a curb between the halves."""
    depth = canvas.y - horizon  # rows below the horizon, which is infinitely far
    below = depth >= 0
    middle = center + depth * pick(-2, 2) // 16
    slabs = (abs(canvas.x - middle) * 3 // (np.maximum(depth, 0) + 3)) % 2
    asphalt = np.array(ASPHALT) - 9 * slabs[below][:, None]
    canvas.paint(below, asphalt, np.where(canvas.x < middle, *halves))
    canvas.paint(below & (abs(canvas.x - middle) <= (depth + 8) // 16), CURB, VOID)


def wall(canvas: Canvas, pick, horizon: int, label: int):
    """Houses, or stretches of a fence, each lower than the one before."""
    x, y = canvas.x, canvas.y
    foot = horizon + 1 + np.maximum(36 - x, 0) * 3 // 8  # the row where it meets the ground
    left, top = 0, pick(3, 8)
    for width in (pick(13, 15), pick(10, 12), pick(8, 9)):
        brick = BRICKS[pick(0, len(BRICKS) - 1)]
        roof = top + (x - left) // 4
        canvas.paint(canvas.box(left, left + width, roof, foot), brick, label)
        pane = ((x - left) % 5 >= 2) & ((y - roof) % 7 >= 3) & (x - left < width - 1)
        canvas.paint(canvas.box(left, left + width, roof, foot - 3) & pane, WINDOW, label)
        left, top = left + width, top + width // 4 + pick(0, 4)


def trees(canvas: Canvas, pick, horizon: int, leaves: tuple[int, int, int]):
    """A hedge, and crowns on trunks before it, far to near."""
    x, edge = canvas.x, WIDTH - 34  # they keep their distance from the wall
    foot = horizon + 1 + np.maximum(x - edge + 3, 0) * 3 // 8
    canvas.paint(canvas.box(edge, WIDTH, foot - 6 - (x - edge) // 4, foot), leaves, TREE)
    for tree in range(3):
        trunk = edge + 6 + 10 * tree + pick(0, 3)
        base = horizon + 2 + 4 * tree
        canvas.paint(canvas.box(trunk - 1, trunk + 2, base - 14, base), TRUNK, TREE)
        crown = canvas.disc(trunk, base - 16 - 2 * tree, 5 + 2 * tree, 7 + 2 * tree)
        canvas.paint(crown & (x >= edge), leaves, TREE)


def posts(canvas: Canvas, pick, horizon: int, label: int):
    """Two posts with a round head, before the wall, far to near."""
    for x, height, head in ((pick(24, 29), 22, 4), (pick(8, 16), 30, 5)):
        base = horizon + 2 + (36 - x) // 2
        canvas.paint(canvas.box(x - 2, x + 2, base - height, base), METAL, label)
        canvas.paint(canvas.disc(x, base - height, head, head), METAL, label)


def vehicles(canvas: Canvas, pick, horizon: int, center: int, halves: tuple[int, int]):
    """One on either half of the street, seen from behind, the far one first."""
    far = pick(0, 1)
    for half, away in ((far, 12), (1 - far, 24)):
        base, size = horizon + away + pick(-2, 2), 4 + away // 8
        x = center + (-1, 1)[half] * (size + pick(5, 8 + away // 2))
        paint = PAINTS[pick(0, len(PAINTS) - 1)]
        label = CAR if halves[half] == ROAD else BICYCLIST
        for wheel in (x - size + 1, x + size - 3):
            canvas.paint(canvas.box(wheel, wheel + 3, base - 3, base), WHEEL, label)
        body = canvas.box(x - size, x + size + 1, base - size - 1, base - 1)
        cabin = canvas.box(x - size + 2, x + size - 1, base - 2 * size + 1, base - size)
        canvas.paint(body | cabin, paint, label)


def people(canvas: Canvas, pick, horizon: int):
    """Two pedestrians anywhere on the ground."""
    for _ in range(2):
        x, base = pick(6, WIDTH - 6), horizon + pick(12, 22)
        canvas.paint(canvas.box(x - 3, x + 4, base - 12, base), COAT, PEDESTRIAN)
        canvas.paint(canvas.disc(x, base - 14, 3, 3), SKIN, PEDESTRIAN)


def board(canvas: Canvas, pick, center: int, side: str):
    """High above one half of the street; its wire is part of the sky, as wires are in CamVid."""
    row, gap, reach = pick(1, 3), pick(3, 6), pick(36, 40)
    left = center - gap - reach if side == "wall" else center + gap
    canvas.paint(canvas.box(0, WIDTH, row - 1, row) & (canvas.label == SKY), BOX, SKY)
    canvas.paint(canvas.box(left, left + reach, row, row + 7), BOX, SIGN)
    canvas.paint(canvas.box(left + 1, left + reach - 1, row + 1, row + 6), BOARD, SIGN)
