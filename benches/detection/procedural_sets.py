#!/usr/bin/env python3
"""Draws data sets of kinds that photographs at hand do not cover: objects that lie as the fixture
holds them, objects that lie as they fall, woven cloth, boards whose crops are not registered,
long strips of ground metal (1 : 2.5 and 1 : 6) with hairline cracks, and panels with a fixed
layout of parts, of which one is missing, doubled or swapped with another.

    benches/detection/procedural_sets.py OUT
        [--sets boards rings screws cloth strips25 strips6 panels]
        [--normal 200] [--test 60] [--seed 1]

Writes OUT/<set>/train/good, test/good, test/<kind> and ground_truth/<kind>/*_mask.png. They are
drawings: what a method does on them says where it fails, not how well it does on photographs.
Needs Pillow, numpy, scipy."""

import argparse
import pathlib

import numpy as np
from PIL import Image, ImageDraw
from scipy.ndimage import fourier_gaussian, gaussian_filter, map_coordinates


# A size is the side of a square, or height and width.

def noise(random, size, sigma):
    """Smooth noise of deviation 1."""
    field = gaussian_filter(random.standard_normal(np.broadcast_to(size, 2)), sigma, mode="wrap")
    return field / field.std()


def photograph(random, picture, sharpness=0.7, grain=0.012, light=0.12):
    """A drawing (h×w×c, 0–1) as a camera takes it: uneven light, exposure, blur, grain."""
    height, width = picture.shape[:2]
    y, x = np.mgrid[0:height, 0:width]
    y, x = y / height - 0.5, x / width - 0.5
    angle = random.uniform(0, 2 * np.pi)
    gradient = 1 + light * random.uniform(0.3, 1) * (np.cos(angle) * x + np.sin(angle) * y)
    picture = picture * gradient[..., None] * random.uniform(0.88, 1.12)
    blur = sharpness * random.uniform(0.8, 1.2)
    picture = np.stack([gaussian_filter(p, blur) for p in np.moveaxis(picture, -1, 0)], -1)
    return picture + grain * random.standard_normal(picture.shape)


def drawn(size, draw, scale=4):
    """A picture h×w in 0–1 drawn with Pillow at `scale` times the size: coordinates are final pixels."""
    height, width = (int(side) for side in np.broadcast_to(size, 2))
    image = Image.new("L", (width * scale, height * scale))
    draw(ImageDraw.Draw(image), scale)
    return np.asarray(image.resize((width, height), Image.BOX), float) / 255


def blob(random, size, centre, radius):
    """A ragged disc, 0–1, soft at the rim."""
    y, x = np.mgrid[0:size, 0:size]
    angle = np.arctan2(y - centre[1], x - centre[0])
    ragged = 1 + 0.25 * np.sin(2 * angle + random.uniform(0, 7)) + 0.15 * np.sin(5 * angle + random.uniform(0, 7))
    return np.clip(radius * ragged - np.hypot(x - centre[0], y - centre[1]) + 0.5, 0, 1)


def stroke(random, size, start, length, width, bend=0.15, heading=None):
    """A crooked line, 0–1; in any direction where none is given."""
    if heading is None:
        heading = random.uniform(0, 2 * np.pi)
    points = [np.asarray(start, float)]
    for _ in range(max(2, int(length / 4))):
        heading += random.normal(0, bend)
        points.append(points[-1] + 4 * np.array([np.cos(heading), np.sin(heading)]))
    return drawn(size, lambda d, s: d.line([tuple(p * s) for p in points], fill=255, width=max(1, int(width * s))))


def over(picture, cover, colour):
    cover = cover[..., None]
    return picture * (1 - cover) + np.asarray(colour, float) * cover


# Each set: a function of (random, kind or None) that gives picture h×w×c in 0–1 and mask h×w.

def boards(random, kind):
    size, pitch = 640, 40
    lanes = []

    def draw(d, s):
        for lane in range(-1, size // pitch + 2):
            at = lane * pitch + random.uniform(-4, 4)
            x, points, width = -20.0, [], random.choice([9, 13, 18])
            y = at
            points.append((x, y))
            while x < size + 20:
                x += random.uniform(60, 200)
                points.append((x, y))
                if random.random() < 0.4:
                    step = random.choice([-1, 1]) * random.uniform(8, 14)
                    x += abs(step)
                    y += step
                    points.append((x, y))
            if random.random() < 0.85:
                lanes.append((points, width))
                d.line([(px * s, py * s) for px, py in points], fill=255, width=width * s)
            for _ in range(random.integers(0, 3)):
                cx, r = random.uniform(0, size), random.uniform(11, 15)
                d.ellipse([(cx - r) * s, (at - r) * s, (cx + r) * s, (at + r) * s], fill=255)
                d.ellipse([(cx - 5) * s, (at - 5) * s, (cx + 5) * s, (at + 5) * s], fill=0)

    copper = drawn(size, draw, 2)
    if random.random() < 0.5:
        copper = copper.T.copy()
        lanes = [([(y, x) for x, y in points], width) for points, width in lanes]
    mask = np.zeros((size, size))
    if kind:
        for _ in range(50):
            points, width = lanes[random.integers(len(lanes))]
            place = random.integers(len(points) - 1)
            t = random.uniform(0.2, 0.8)
            a, b = np.array(points[place]), np.array(points[place + 1])
            centre = a + t * (b - a)
            along = (b - a) / max(np.hypot(*(b - a)), 1e-6)
            across = np.array([-along[1], along[0]]) * random.choice([-1, 1])
            if not (20 < centre[0] < size - 20 and 20 < centre[1] < size - 20):
                continue
            edge = centre + across * width / 2
            if kind == "open":
                gap = random.uniform(4, 9)
                new = drawn(size, lambda d, s: d.line([tuple((centre - across * (width / 2 + 2)) * s), tuple((centre + across * (width / 2 + 2)) * s)], fill=255, width=int(gap * s)), 2)
                after = copper * (1 - new)
            elif kind == "bridge":
                new = drawn(size, lambda d, s: d.line([tuple(centre * s), tuple((centre + across * pitch) * s)], fill=255, width=int(random.uniform(4, 7) * s)), 2)
                after = np.maximum(copper, new)
            elif kind == "bite":
                after = copper * (1 - blob(random, size, edge, random.uniform(3.5, 6)))
            elif kind == "spur":
                after = np.maximum(copper, blob(random, size, edge + across, random.uniform(3.5, 6)))
            else:
                after = copper * (1 - blob(random, size, centre, random.uniform(2.5, 4)))
            mask = np.abs(after - copper) > 0.3
            if mask.sum() > 12:
                copper = after
                break
    green = np.array([0.12, 0.32, 0.2])
    picture = over(np.ones((size, size, 3)) * green, copper, [0.55, 0.62, 0.4])
    picture *= 1 + 0.03 * noise(random, size, 3)[..., None]
    return photograph(random, picture, 0.8), mask


def turned(picture, angle, shift, mode="nearest"):
    """h×w turned about its middle by `angle` radians and shifted."""
    size = picture.shape[0]
    y, x = np.mgrid[0:size, 0:size] - (size - 1) / 2
    u = np.cos(angle) * (x - shift[0]) + np.sin(angle) * (y - shift[1]) + (size - 1) / 2
    v = -np.sin(angle) * (x - shift[0]) + np.cos(angle) * (y - shift[1]) + (size - 1) / 2
    return map_coordinates(picture, [v, u], order=1, mode=mode)


def rings(random, kind):
    size = 400
    c = size / 2

    def draw(d, s):
        disc = lambda x, y, r, fill: d.ellipse([(x - r) * s, (y - r) * s, (x + r) * s, (y + r) * s], fill=fill)
        for tooth in range(24):
            a = 2 * np.pi * tooth / 24
            disc(c + 160 * np.cos(a), c + 160 * np.sin(a), 14, 190)
        disc(c, c, 160, 190)
        disc(c, c, 120, 140)
        disc(c, c, 55, 200)
        disc(c, c, 30, 0)
        missing = random.integers(6) if kind == "missing" else -1
        for hole in range(6):
            a = 2 * np.pi * (hole + 0.5) / 6
            if hole != missing:
                disc(c + 88 * np.cos(a), c + 88 * np.sin(a), 13, 0)

    layer = drawn(size, draw)
    clean = layer
    mask = np.zeros((size, size))
    if kind == "missing":

        def holes(d, s):
            for hole in range(6):
                a = 2 * np.pi * (hole + 0.5) / 6
                x, y = c + 88 * np.cos(a), c + 88 * np.sin(a)
                d.ellipse([(x - 13) * s, (y - 13) * s, (x + 13) * s, (y + 13) * s], fill=255)

        whole = drawn(size, holes)
        mask = (whole > 0.5) & (layer > 0.3)
    elif kind == "chip":
        a = random.uniform(0, 2 * np.pi)
        layer = layer * (1 - blob(random, size, (c + 168 * np.cos(a), c + 168 * np.sin(a)), random.uniform(7, 13)))
        mask = np.abs(layer - clean) > 0.2
    body = np.clip(layer * 4, 0, 1)
    grain = 1 + 0.05 * noise(random, size, (0.6, 6))
    picture = over(np.ones((size, size, 3)) * [0.16, 0.17, 0.2] * (1 + 0.06 * noise(random, size, 2))[..., None], body, [1, 0.97, 0.9])
    picture = np.where(body[..., None] > 0.02, picture * (layer * grain)[..., None] * 0.9 + (1 - body)[..., None] * 0.15, picture)
    if kind in ("scratch", "dirt"):
        a, r = random.uniform(0, 2 * np.pi), random.choice([random.uniform(62, 74), random.uniform(126, 152)])
        at = (c + r * np.cos(a), c + r * np.sin(a))
        if kind == "scratch":
            new = stroke(random, size, at, random.uniform(25, 60), random.uniform(1, 2)) * random.uniform(0.35, 0.7)
            picture, mask = over(picture, new, [0.95, 0.95, 0.95] if random.random() < 0.5 else [0.2, 0.2, 0.2]), new > 0.15
        else:
            new = blob(random, size, at, random.uniform(5, 11)) * random.uniform(0.3, 0.7)
            picture, mask = over(picture, new, [0.35, 0.22, 0.1]), new > 0.15
    angle, shift = random.normal(0, 0.015), random.normal(0, 2, 2)
    picture = np.stack([turned(p, angle, shift) for p in np.moveaxis(picture, -1, 0)], -1)
    return photograph(random, picture), turned(mask.astype(float), angle, shift) > 0.5


def screws(random, kind):
    size = 512
    c = size / 2
    bend = random.choice([-1, 1]) * random.uniform(14, 24) if kind == "bent" else 0
    flat = random.uniform(-60, 90) if kind == "thread" else None

    def axis(x):
        return bend * max(0, (x - 40) / 110) ** 2 if bend else 0.0

    def draw(d, s):
        d.rectangle([(c - 170) * s, (c - 34) * s, (c - 140) * s, (c + 34) * s], fill=200)
        for step in range(0, 290):
            x = -140 + step
            phase = (x % 9) / 9
            depth = 5 * abs(2 * phase - 1) if x > -90 else 0
            if flat is not None and abs(x - flat) < 14:
                depth = 5
            half = (17 - depth) * (1 if x < 110 else max(0.05, (150 - x) / 40))
            tone = int(150 + (70 * (1 - abs(2 * phase - 1)) if x > -90 and not (flat is not None and abs(x - flat) < 14) else 20))
            d.rectangle([(c + x) * s, (c + axis(x) - half) * s, (c + x + 1) * s, (c + axis(x) + half) * s], fill=tone)

    layer = drawn(size, draw)
    mask = np.zeros((size, size))
    y, x = np.mgrid[0:size, 0:size] - c
    if kind == "bent":
        mask = (layer > 0.2) & (x > 70)
    elif kind == "thread":
        mask = (np.abs(x - flat) < 14) & (np.abs(y) < 18)
    shade = np.where(np.abs(x + 155) < 16, 0.75 + 0.25 * np.cos(y / 34 * 1.5), 0.55 + 0.45 * np.cos(np.clip(y / 17, -1, 1) * 1.45))
    body = np.clip(layer * 5, 0, 1)
    metal = layer * shade
    if kind == "scratch":
        new = stroke(random, size, (c - 155 + random.uniform(-5, 5), c + random.uniform(-20, 20)), random.uniform(15, 30), 2.5) * body * 0.7
        metal, mask = metal * (1 - new) + 0.15 * new, new > 0.2
    if kind == "rust":
        new = blob(random, size, (c + random.uniform(-80, 90), c + random.uniform(-9, 9)), random.uniform(6, 11)) * body * random.uniform(0.5, 0.8)
        metal, mask = metal * (1 - 0.7 * new), new > 0.2
    angle, shift = random.uniform(0, 2 * np.pi), random.normal(0, 12, 2)
    turn = lambda p: turned(p.astype(float), angle, shift, "constant")
    body, metal = turn(body), turn(metal)
    paper = 0.72 + 0.015 * noise(random, size, 1.5)
    shadow = 0.25 * gaussian_filter(np.roll(body, (6, 6), (0, 1)), 6)
    picture = (paper - shadow) * (1 - body) + metal * body
    return photograph(random, picture[..., None]), turn(mask) > 0.5


def cloth(random, kind):
    size, period = 480, 12.0
    y, x = np.mgrid[0:size, 0:size].astype(float)
    x = x + 1.6 * noise(random, size, 14) + random.uniform(0, 99)
    y = y + 1.6 * noise(random, size, 14) + random.uniform(0, 99)
    mask = np.zeros((size, size))
    at = random.uniform(60, size - 60, 2)
    v, u = np.mgrid[0:size, 0:size].astype(float)
    if kind == "pull":
        push = 7 * np.exp(-((u - at[0]) ** 2 / (2 * 9**2) + (v - at[1]) ** 2 / (2 * 26**2)))
        x, mask = x + push * random.choice([-1, 1]), push > 1.5
    warp, weft = np.floor(x / period), np.floor(y / period)
    up = (warp + weft) % 2 == 0
    if kind == "thread":
        line = (np.abs(v - at[1]) < period / 2) & (np.abs(u - at[0]) < random.uniform(30, 55))
        row = weft == np.round(np.median(weft[line]))
        line = row & (np.abs(u - at[0]) < 45)
        up, mask = up | line, line
    thread = lambda t: np.sin(np.pi * (t / period % 1)) ** 0.7
    fibre = 1 + 0.08 * noise(random, size, 0.8)
    tone_warp, tone_weft = 0.35 + 0.4 * thread(x), 0.3 + 0.4 * thread(y)
    cover = np.where(up, tone_warp, tone_weft) * fibre * np.where(up, thread(y) * 0.35 + 0.65, thread(x) * 0.35 + 0.65)
    colour = np.where(up[..., None], [0.75, 0.68, 0.55], [0.5, 0.55, 0.68])
    picture = cover[..., None] * colour * 1.5
    if kind == "hole":
        new = blob(random, size, at, random.uniform(6, 11))
        picture, mask = over(picture, new, [0.07, 0.07, 0.08]), new > 0.3
    if kind == "stain":
        new = gaussian_filter(blob(random, size, at, random.uniform(16, 34)), 3) * random.uniform(0.15, 0.35)
        picture, mask = over(picture, new, [0.25, 0.18, 0.1]), new > 0.07
    return photograph(random, picture), mask


def strip(random, kind, height, width):
    """A strip of ground metal: streaks along it, lamps that differ, two worn edges."""
    size = (height, width)

    def noise(random, size, sigma):
        """As above, of wide filters in less time."""
        spectrum = fourier_gaussian(np.fft.rfft2(random.standard_normal(size)), sigma, size[1])
        field = np.fft.irfft2(spectrum, size)
        return field / field.std()

    along = np.linspace(-0.5, 0.5, width) - random.uniform(-0.3, 0.3)
    across = np.arange(height)[:, None] + random.normal(0, 1.5)
    light = 0.5 * (1 - random.uniform(0.1, 0.5) * along**2) * (1 + 0.05 * noise(random, size, 60))
    streaks = 0.05 * noise(random, size, (0.7, random.uniform(25, 60)))
    streaks += 0.03 * noise(random, size, (3, 150)) + 0.02 * noise(random, size, (0.6, 4))
    metal = light * (1 + random.uniform(0.7, 1.3) * streaks)
    wear = np.exp(-across / 5) + np.exp(-(height - across) / 7)
    metal = metal * (1 + 0.3 * np.clip(wear, 0, 1) * (1 + 0.3 * noise(random, size, (2, 12))))
    mask = np.zeros(size)
    if kind:
        # Along the streaks a crack looks like one of them, across them it is short.
        turn, length = {"along": (0.12, (60, 180)), "across": (0.6, (30, 110))}[kind]
        heading = random.normal(0 if kind == "along" else np.pi / 2, turn)
        start = random.uniform((0.1 * width, 0.2 * height), (0.75 * width, 0.6 * height))
        new = stroke(random, size, start, random.uniform(*length), random.uniform(1, 2), 0.12, heading)
        metal, mask = metal * (1 - random.uniform(0.25, 0.5) * new), new > 0.15
    return photograph(random, metal[..., None], grain=0.015), mask


def strips25(random, kind):
    return strip(random, kind, 400, 1000)


def strips6(random, kind):
    return strip(random, kind, 260, 1560)


def part(d, s, x, y, shape):
    """Draws a part of about 50×50 pixels about (x, y): each shape is another part."""
    disc = lambda r, fill: d.ellipse([(x - r) * s, (y - r) * s, (x + r) * s, (y + r) * s], fill=fill)
    box = lambda a, b, fill, dx=0, dy=0: d.rectangle([(x + dx - a) * s, (y + dy - b) * s, (x + dx + a) * s, (y + dy + b) * s], fill=fill)
    ngon = lambda n, r, fill: d.regular_polygon((x * s, y * s, r * s), n, rotation=15, fill=fill)
    if shape == "washer":
        disc(25, 215), disc(11, 60)
    elif shape == "nut":
        ngon(6, 27, 190), disc(12, 70)
    elif shape == "screw":
        disc(24, 160), box(20, 3, 50)
    elif shape == "clip":
        box(24, 24, 120), box(24, 10, 40, 8)
    elif shape == "plug":
        box(25, 18, 95), [disc_at(d, s, x + dx, y, 4, 230) for dx in (-15, 0, 15)]
    elif shape == "block":
        box(22, 25, 235), box(14, 3, 110, dy=-12), box(14, 3, 110, dy=12)
    else:
        ngon(3, 29, 140), disc(8, 220)


def disc_at(d, s, x, y, r, fill):
    d.ellipse([(x - r) * s, (y - r) * s, (x + r) * s, (y + r) * s], fill=fill)


# Each part at its place, in places of a 3×3 grid; two places are always empty.
LAYOUT = {(0, 0): "washer", (1, 0): "clip", (2, 0): "nut", (0, 1): "plug", (1, 1): "screw", (2, 1): "block", (1, 2): "wedge"}
EMPTY = [(0, 2), (2, 2)]


def panels(random, kind):
    size = 400
    parts, changed = dict(LAYOUT), []
    places = [place for place in LAYOUT]
    if kind == "missing":
        changed = [places[random.integers(len(places))]]
        del parts[changed[0]]
    elif kind == "doubled":
        changed = [EMPTY[random.integers(len(EMPTY))]]
        parts[changed[0]] = parts[places[random.integers(len(places))]]
    elif kind == "swapped":
        changed = [places[p] for p in random.choice(len(places), 2, replace=False)]
        parts[changed[0]], parts[changed[1]] = parts[changed[1]], parts[changed[0]]
    at = {place: 90 + 110 * np.array(place) + random.normal(0, 1.2, 2) for place in LAYOUT | parts}

    # A part is brighter than 0 everywhere, so that its cover is known from it.
    metal = drawn(size, lambda d, s: [part(d, s, *at[place], shape) for place, shape in parts.items()])
    cover = np.clip(metal * 8, 0, 1)
    fleck = 1 + 0.09 * noise(random, size, (1.2, 1.2)) + 0.05 * noise(random, size, (0.8, 8))
    ground = np.array([0.33, 0.36, 0.42]) * fleck[..., None]
    grain = 1 + 0.05 * noise(random, size, 1)
    shadow = 0.35 * gaussian_filter(np.roll(cover, (4, 4), (0, 1)), 4)
    picture = over(ground * (1 - shadow[..., None]), cover, (metal * grain)[..., None] * [1, 0.98, 0.93])
    mask = np.zeros((size, size))
    for place in changed:
        x, y = np.round(at[place]).astype(int)
        mask[y - 27 : y + 28, x - 27 : x + 28] = 1
    angle, shift = random.normal(0, 0.01), random.normal(0, 2, 2)
    picture = np.stack([turned(p, angle, shift) for p in np.moveaxis(picture, -1, 0)], -1)
    return photograph(random, picture), turned(mask, angle, shift) > 0.5


KINDS = {
    boards: ["open", "bridge", "bite", "spur", "pinhole"],
    rings: ["missing", "chip", "scratch", "dirt"],
    screws: ["bent", "thread", "scratch", "rust"],
    cloth: ["pull", "thread", "hole", "stain"],
    strips25: ["across", "along"],
    strips6: ["across", "along"],
    panels: ["missing", "doubled", "swapped"],
}


def save(path, values):
    path.parent.mkdir(parents=True, exist_ok=True)
    values = np.clip(np.round(255 * np.asarray(values, float)), 0, 255).astype(np.uint8)
    Image.fromarray(values[..., 0] if values.ndim == 3 and values.shape[-1] == 1 else values).save(path, compress_level=1)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--sets", nargs="+", default=[draw.__name__ for draw in KINDS])
    parser.add_argument("--normal", type=int, default=200, help="normal frames to train with")
    parser.add_argument("--test", type=int, default=60, help="normal frames, and defective ones, of the test")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    for place, (draw, kinds) in enumerate(KINDS.items()):
        if draw.__name__ not in options.sets:
            continue
        random = np.random.default_rng([options.seed, place])
        folder = options.out / draw.__name__
        for number in range(options.normal):
            save(folder / f"train/good/{number:04}.png", draw(random, None)[0])
        for number in range(options.test):
            save(folder / f"test/good/{number:04}.png", draw(random, None)[0])
        for number in range(options.test):
            kind = kinds[number % len(kinds)]
            picture, mask = draw(random, kind)
            save(folder / f"test/{kind}/{number:04}.png", picture)
            save(folder / f"ground_truth/{kind}/{number:04}_mask.png", mask)
        print(folder)


if __name__ == "__main__":
    main()
