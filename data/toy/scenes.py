"""One street scene, drawn from a seed with integers alone: the same bytes on every machine.

Two things far away decide what half of the scene is; nothing else in the image tells it.

- A board hangs high above one half of the street. The half below it is the road, the other is
  pavement, of the same asphalt. A vehicle on the road is a car, the same vehicle on the pavement
  is a bicyclist.
- Trees stand on one side. Green ones belong to a street of houses: the wall on the other side is
  a building, and the posts before it are poles. Yellow ones belong to a park: the same wall is
  its fence, and the same posts are signs.

The random numbers of a scene do not depend on its cues, so the same scene can be drawn with
others: the board moves or the trees change colour, all else stays, and the far labels swap.
"""

from typing import NamedTuple

import numpy as np

from reseg_jax.config import VOID

HEIGHT, WIDTH = 64, 96  # pixels; ours: small enough to train on in a minute
SKY, BUILDING, POLE, ROAD, SIDEWALK, TREE, SIGN, FENCE, CAR, PEDESTRIAN, BICYCLIST = range(11)

# (red, green, blue), chosen so that one pixel tells each material from most others.
BLUE_SKY, CLOUD = (115, 175, 235), (165, 205, 240)
BRICKS, WINDOW = ((150, 72, 60), (168, 88, 66), (134, 66, 66)), (96, 44, 48)
ASPHALT, KERB, BONNET = (112, 112, 116), (196, 196, 196), (44, 30, 60)
LEAVES, TRUNK = {"green": (62, 138, 56), "yellow": (222, 180, 44)}, (92, 66, 30)
METAL = (236, 232, 222)
PAINTS, WHEEL = ((38, 62, 186), (112, 44, 168), (20, 120, 160)), (24, 22, 34)
COAT, SKIN = (226, 40, 116), (244, 176, 150)
BOX, BOARD = (22, 26, 24), (24, 226, 190)


class Cues(NamedTuple):
    """What stands far away and decides."""

    board: str  # above the half of the street by the "wall" or by the "trees"
    trees: str  # "green" or "yellow"


class Scene(NamedTuple):
    """A drawn scene."""

    image: np.ndarray  # uint8 [HEIGHT, WIDTH, 3], RGB
    label: np.ndarray  # uint8 [HEIGHT, WIDTH], 0..10 and VOID
    cues: Cues


class Canvas:
    """An image and its labels, painted over from back to front; x and y are pixel positions."""

    def __init__(self):
        self.y, self.x = np.mgrid[:HEIGHT, :WIDTH]
        self.image = np.zeros((HEIGHT, WIDTH, 3), np.int64)
        self.label = np.full((HEIGHT, WIDTH), VOID, np.uint8)

    def paint(self, where, colour, label):
        """Give the pixels of the mask `where` a colour and a label (an array: each its own)."""
        self.image[where] = colour
        self.label[where] = np.broadcast_to(label, where.shape)[where]

    def box(self, left, right, top, bottom):
        """The mask of columns left..right-1 and rows top..bottom-1; bounds may be arrays."""
        return (left <= self.x) & (self.x < right) & (top <= self.y) & (self.y < bottom)

    def disc(self, x, y, a, b):
        """The mask of an ellipse around pixel (x, y) with half-axes a across and b down."""
        return (b * (self.x - x)) ** 2 + (a * (self.y - y)) ** 2 <= (a * b) ** 2


def draw(seed: list[int], cues: Cues | None = None) -> Scene:
    """The scene of a seed; `cues` in place of its own draw the same scene in another world."""
    generator = np.random.default_rng(seed)

    def pick(low, high):
        return int(generator.integers(low, high + 1))

    own = Cues(("wall", "trees")[pick(0, 1)], ("green", "yellow")[pick(0, 1)])
    cues = cues or own
    halves = (ROAD, SIDEWALK) if cues.board == "wall" else (SIDEWALK, ROAD)
    wall, post = (BUILDING, POLE) if cues.trees == "green" else (FENCE, SIGN)
    rider = {ROAD: CAR, SIDEWALK: BICYCLIST}

    canvas = Canvas()
    x, y = canvas.x, canvas.y
    canvas.paint(y >= 0, BLUE_SKY, SKY)
    for _ in range(3):
        cloud = canvas.disc(pick(0, WIDTH), pick(2, 22), pick(8, 16), pick(2, 3))
        canvas.paint(cloud, CLOUD, SKY)

    # The ground: slabs that widen from the vanishing point towards us, a kerb in the middle.
    horizon, centre = pick(32, 34), pick(46, 50)
    depth = y - horizon  # rows below the horizon, which is infinitely far
    middle = centre + depth * pick(-2, 2) // 16
    slabs = (abs(x - middle) * 3 // (np.maximum(depth, 0) + 3)) % 2
    asphalt = np.array(ASPHALT) - 9 * slabs[depth >= 0][:, None]
    canvas.paint(depth >= 0, asphalt, np.where(x < middle, *halves))
    canvas.paint((depth >= 0) & (abs(x - middle) <= (depth + 8) // 16), KERB, VOID)

    # The wall on the left: houses, or stretches of a fence, each lower than the one before.
    foot = horizon + 1 + np.maximum(36 - x, 0) * 3 // 8  # row where a side meets the ground
    left, top = 0, pick(3, 8)
    for width in (pick(13, 15), pick(10, 12), pick(8, 9)):
        brick = BRICKS[pick(0, len(BRICKS) - 1)]
        roof = top + (x - left) // 4
        canvas.paint(canvas.box(left, left + width, roof, foot), brick, wall)
        pane = ((x - left) % 5 >= 2) & ((y - roof) % 7 >= 3) & (x - left < width - 1)
        canvas.paint(canvas.box(left, left + width, roof, foot - 3) & pane, WINDOW, wall)
        left, top = left + width, top + width // 4 + pick(0, 4)

    # The trees on the right: a hedge, and crowns on trunks before it, far to near.
    leaves = LEAVES[cues.trees]
    foot = horizon + 1 + np.maximum(x - (WIDTH - 37), 0) * 3 // 8
    hedge = canvas.box(WIDTH - 34, WIDTH, foot - 6 - (x - WIDTH + 34) // 4, foot)
    canvas.paint(hedge, leaves, TREE)
    for tree in range(3):
        trunk = WIDTH - 28 + 10 * tree + pick(0, 3)
        ground = horizon + 2 + 4 * tree
        canvas.paint(canvas.box(trunk - 1, trunk + 2, ground - 14, ground), TRUNK, TREE)
        crown = canvas.disc(trunk, ground - 16 - 2 * tree, 5 + 2 * tree, 7 + 2 * tree)
        canvas.paint(crown & (x >= WIDTH - 34), leaves, TREE)

    # Posts with a head stand before the wall, far to near.
    for place, height, head in ((pick(24, 29), 22, 4), (pick(8, 16), 30, 5)):
        ground = horizon + 2 + (36 - place) // 2
        canvas.paint(canvas.box(place - 2, place + 2, ground - height, ground), METAL, post)
        canvas.paint(canvas.disc(place, ground - height, head, head), METAL, post)

    # A vehicle on either half, the far one first, and people.
    far = pick(0, 1)
    for half, away in ((far, 12), (1 - far, 24)):
        ground, size = horizon + away + pick(-2, 2), 4 + away // 8
        at = centre + (1, -1)[half == 0] * (size + pick(5, 8 + away // 2))
        paint = PAINTS[pick(0, len(PAINTS) - 1)]
        vehicle(canvas, at, ground, size, paint, rider[halves[half]])
    for _ in range(2):
        person(canvas, pick(6, WIDTH - 6), horizon + pick(12, 22))

    # The board hangs on a wire, which like CamVid's wires is part of the sky.
    row, near, reach = pick(1, 3), pick(3, 6), pick(36, 40)
    left = centre - near - reach if cues.board == "wall" else centre + near
    canvas.paint(canvas.box(0, WIDTH, row - 1, row) & (canvas.label == SKY), BOX, SKY)
    canvas.paint(canvas.box(left, left + reach, row, row + 7), BOX, SIGN)
    canvas.paint(canvas.box(left + 1, left + reach - 1, row + 1, row + 6), BOARD, SIGN)

    # Our own car, of which CamVid's labels know nothing.
    canvas.paint(canvas.disc(WIDTH // 2, HEIGHT + 5, 44, 9), BONNET, VOID)

    light, noise = pick(112, 144), generator.integers(-8, 9, (2, HEIGHT, WIDTH, 3)).sum(0)
    image = np.clip(canvas.image * light // 128 + noise, 0, 255).astype(np.uint8)
    label, flip = canvas.label, (1, -1)[pick(0, 1)]
    return Scene(image[:, ::flip].copy(), label[:, ::flip].copy(), cues)


def vehicle(canvas: Canvas, x: int, ground: int, half: int, colour, label: int):
    """A vehicle of 2 half + 1 columns that stands on row `ground`."""
    for wheel in (x - half + 1, x + half - 3):
        canvas.paint(canvas.box(wheel, wheel + 3, ground - 3, ground), WHEEL, label)
    canvas.paint(canvas.box(x - half, x + half + 1, ground - half - 1, ground - 1), colour, label)
    roof = ground - 2 * half + 1
    canvas.paint(canvas.box(x - half + 2, x + half - 1, roof, ground - half), colour, label)


def person(canvas: Canvas, x: int, ground: int):
    """A pedestrian whose feet are on row `ground`."""
    canvas.paint(canvas.box(x - 3, x + 4, ground - 12, ground), COAT, PEDESTRIAN)
    canvas.paint(canvas.disc(x, ground - 14, 3, 3), SKIN, PEDESTRIAN)
