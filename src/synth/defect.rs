//! Defects of a machined surface: what each does to the points it covers.
//!
//! Lengths are in units of 1/256 of the frame's shorter side, positions relative to the frame's
//! middle.

mod polyline;

use polyline::{Segment, dot, nearest, polyline, unit};

use super::{
    noise::{Draw, bump, bump_slope, noise1, noise2, smooth_step},
    surface::{Surface, Touch},
};

/// A kind of defect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DefectKind {
    /// A groove drawn across the tool marks.
    Scratch,
    /// A shallow hollow that bends the tool marks.
    Dent,
    /// A few small pores.
    Pit,
    /// A patch of dried coolant or oil.
    Stain,
    /// Broken-out material, rough inside, often at the edge of the frame.
    Chip,
    /// A thin branching line.
    Crack,
    /// A ragged lip of metal along a tool mark, with its shadow.
    Burr,
}

impl DefectKind {
    /// All kinds, in the order of a data set's folders.
    pub const ALL: [Self; 7] = [
        Self::Scratch,
        Self::Dent,
        Self::Pit,
        Self::Stain,
        Self::Chip,
        Self::Crack,
        Self::Burr,
    ];

    /// The name, as a data set's folder has it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Scratch => "scratch",
            Self::Dent => "dent",
            Self::Pit => "pit",
            Self::Stain => "stain",
            Self::Chip => "chip",
            Self::Crack => "crack",
            Self::Burr => "burr",
        }
    }
}

/// One pore.
struct Pore {
    centre: [f32; 2],
    radius: f32,
    depth: f32,
}

/// The shape of a defect, with everything that was drawn by lot.
enum Shape {
    Scratch {
        segments: Vec<Segment>,
        /// Light of the bared bottom: positive or negative.
        bottom: f32,
    },
    Dent {
        axes: [f32; 2],
        turn: [f32; 2],
        depth: f32,
    },
    Pit {
        pores: Vec<Pore>,
    },
    Stain {
        axes: [f32; 2],
        seed: u32,
        film: f32,
        rim: f32,
    },
    Chip {
        radius: f32,
        seed: u32,
        dark: f32,
        rough: f32,
        rim: f32,
    },
    Crack {
        segments: Vec<Segment>,
    },
    Burr {
        along: [f32; 2],
        half_length: f32,
        width: f32,
        strength: f32,
        seed: u32,
        /// +1 or −1: the side to which the lip leans.
        side: f32,
    },
}

/// A defect at a place of the frame.
pub(super) struct Defect {
    shape: Shape,
    centre: [f32; 2],
    light: [f32; 2],
    /// Nothing is changed farther from the centre than this, units.
    pub(super) reach: f32,
}

impl Defect {
    /// A defect of the given kind in a frame of ±`half` units. `emphasis` multiplies the contrast;
    /// `pixel` is the size of a pixel in units, below which no line gets.
    pub(super) fn new(
        kind: DefectKind,
        surface: &Surface,
        half: [f32; 2],
        pixel: f32,
        emphasis: f32,
        draw: &mut Draw,
    ) -> Self {
        // From faint to obvious.
        let contrast = emphasis * draw.mostly_low(0.25, 1.0);
        let thinnest = 0.55 * pixel;
        let centre = place(kind, half, draw);
        let (shape, reach) = match kind {
            DefectKind::Scratch => scratch(surface, contrast, thinnest, draw),
            DefectKind::Dent => {
                let long = draw.mostly_low(9.0, 32.0);
                let axes = [long, long * draw.between(0.6, 1.0)];
                let shape = Shape::Dent {
                    axes,
                    turn: draw.direction(),
                    depth: contrast * long * 0.3,
                };
                (shape, long)
            }
            DefectKind::Pit => pit(contrast, thinnest, draw),
            DefectKind::Stain => {
                let long = draw.mostly_low(14.0, 52.0);
                let sheen = draw.chance(0.25);
                let shape = Shape::Stain {
                    axes: [long, long * draw.between(0.5, 1.0)],
                    seed: draw.seed(),
                    film: if sheen { 0.3 } else { -0.42 } * contrast,
                    rim: if sheen { -0.1 } else { -0.22 } * contrast,
                };
                (shape, 1.6 * long)
            }
            DefectKind::Chip => {
                let radius = draw.mostly_low(6.0, 28.0);
                let shape = Shape::Chip {
                    radius,
                    seed: draw.seed(),
                    dark: 0.25 + 0.4 * contrast,
                    rough: 0.25 + 0.4 * contrast,
                    rim: 0.15 + 0.5 * contrast,
                };
                (shape, 1.8 * radius)
            }
            DefectKind::Crack => crack(contrast, thinnest, draw),
            DefectKind::Burr => {
                let half_length = draw.mostly_low(14.0, 60.0);
                let shape = Shape::Burr {
                    along: surface.lay(),
                    half_length,
                    width: draw.between(1.4, 3.4).max(thinnest),
                    strength: 1.5 * contrast,
                    seed: draw.seed(),
                    side: if draw.chance(0.5) { 1.0 } else { -1.0 },
                };
                (shape, half_length + 10.0)
            }
        };
        Self {
            shape,
            centre,
            light: surface.light(),
            reach,
        }
    }

    /// The middle, units.
    pub(super) fn centre(&self) -> [f32; 2] {
        self.centre
    }

    /// What the defect does to a point of the frame.
    pub(super) fn at(&self, point: [f32; 2]) -> Touch {
        let p = [point[0] - self.centre[0], point[1] - self.centre[1]];
        if dot(p, p) > self.reach * self.reach {
            return Touch::NONE;
        }
        match &self.shape {
            Shape::Scratch { segments, bottom } => self.scratch_at(p, segments, *bottom),
            Shape::Dent { axes, turn, depth } => self.dent_at(p, *axes, *turn, *depth),
            Shape::Pit { pores } => self.pit_at(p, pores),
            Shape::Stain {
                axes,
                seed,
                film,
                rim,
            } => {
                let (x, y) = (p[0] / axes[0], p[1] / axes[1]);
                let distance = (x * x + y * y).sqrt()
                    + 0.38 * noise2(p[0] / 15.0, p[1] / 15.0, *seed)
                    + 0.12 * noise2(p[0] / 5.0, p[1] / 5.0, seed ^ 1);
                let inside = smooth_step(1.0, 0.82, distance);
                let cloud = 0.75 + 0.35 * noise2(p[0] / 11.0, p[1] / 11.0, seed ^ 2);
                // Dissolved dirt dries at the rim (the "coffee ring").
                let ring = bump((distance - 0.9) / 0.11);
                Touch {
                    gain: (1.0 + film * inside * cloud + rim * ring).max(0.0),
                    ..Touch::NONE
                }
            }
            Shape::Chip {
                radius,
                seed,
                dark,
                rough,
                rim,
            } => {
                let relief = |p: [f32; 2]| {
                    noise2(p[0] / 6.5, p[1] / 6.5, *seed)
                        + 0.5 * noise2(p[0] / 2.6, p[1] / 2.6, seed ^ 1)
                };
                let outline = |p: [f32; 2]| {
                    dot(p, p).sqrt() / radius
                        + 0.3 * noise2(p[0] / 11.0, p[1] / 11.0, seed ^ 2)
                        + 0.07 * noise2(p[0] / 3.0, p[1] / 3.0, seed ^ 3)
                };
                let distance = outline(p);
                let inside = smooth_step(1.02, 0.94, distance);
                // Light falls on a slope that faces it; the slope from a difference of one unit.
                let towards = [p[0] + self.light[0], p[1] + self.light[1]];
                let facet = relief(p) - relief(towards);
                // The broken wall: dark under the light, lit on the far side.
                let wall = bump((distance - 0.95) / 0.22) * (distance - outline(towards)) * radius;
                Touch {
                    gain: 1.0 - inside * dark,
                    glint: inside * rough * 1.1 * facet - rim * 0.4 * wall.clamp(-1.2, 1.2),
                    texture: 1.0 - 0.85 * inside,
                    ..Touch::NONE
                }
            }
            Shape::Crack { segments } => crack_at(p, segments),
            Shape::Burr {
                along,
                half_length,
                width,
                strength,
                seed,
                side,
            } => {
                let u = dot(p, *along);
                let v = side * (p[1] * along[0] - p[0] * along[1]);
                let taper = bump(u / half_length).sqrt();
                let ragged =
                    (0.55 + 0.4 * noise1(u / 7.0, *seed) + 0.35 * noise1(u / 2.2, seed ^ 1))
                        .max(0.0);
                let wander = 1.2 * noise1(u / 16.0, seed ^ 2);
                let height = taper * ragged;
                let lip = bump((v - wander) / width) * height;
                let shadow = bump((v - wander - 2.0 * width) / (1.6 * width)) * height;
                let sparkle = 0.8 + 0.5 * noise1(u / 1.3, seed ^ 3);
                Touch {
                    gain: (1.0 - 0.5 * strength * shadow).max(0.0),
                    glint: strength * lip * sparkle,
                    ..Touch::NONE
                }
            }
        }
    }

    fn scratch_at(&self, p: [f32; 2], segments: &[Segment], bottom: f32) -> Touch {
        let Some((offset, along, half_width, strength)) = nearest(p, segments) else {
            return Touch::NONE;
        };
        let across = [-along[1], along[0]];
        // Lit wall and shaded wall of the groove, and its bottom.
        let t = offset / half_width;
        let wall = bump_slope(t * 0.8) * dot(across, self.light) * 0.45;
        Touch {
            glint: strength * (bottom * bump(t) - wall),
            ..Touch::NONE
        }
    }

    fn dent_at(&self, p: [f32; 2], axes: [f32; 2], turn: [f32; 2], depth: f32) -> Touch {
        let u = dot(p, turn) / axes[0];
        let v = (p[1] * turn[0] - p[0] * turn[1]) / axes[1];
        let square = u * u + v * v;
        if square >= 1.0 {
            return Touch::NONE;
        }
        // Height −depth·(1 − r²)²; its gradient, back in the frame's directions.
        let slope = 4.0 * depth * (1.0 - square);
        let (gu, gv) = (slope * u / axes[0], slope * v / axes[1]);
        let gradient = [gu * turn[0] - gv * turn[1], gu * turn[1] + gv * turn[0]];
        Touch {
            shift: [7.0 * gradient[0], 7.0 * gradient[1]],
            gain: 1.0,
            glint: (-0.9 * dot(gradient, self.light)).clamp(-0.6, 0.8),
            texture: 1.0,
        }
    }

    fn pit_at(&self, p: [f32; 2], pores: &[Pore]) -> Touch {
        let mut touch = Touch::NONE;
        for pore in pores {
            let q = [p[0] - pore.centre[0], p[1] - pore.centre[1]];
            let distance = dot(q, q).sqrt();
            let t = distance / pore.radius;
            if t >= 1.7 {
                continue;
            }
            touch.gain *= 1.0 - (pore.depth * smooth_step(1.1, 0.5, t)).min(1.0);
            // The far rim catches the light.
            let far = -dot(q, self.light) / distance.max(0.1);
            touch.glint += 0.35 * pore.depth * bump((t - 1.15) / 0.5) * far.max(0.0);
        }
        touch
    }
}

/// A place: anywhere with a margin; chips half of the time at an edge.
fn place(kind: DefectKind, half: [f32; 2], draw: &mut Draw) -> [f32; 2] {
    let mut centre = [
        half[0] * draw.between(-0.8, 0.8),
        half[1] * draw.between(-0.8, 0.8),
    ];
    if kind == DefectKind::Chip && draw.chance(0.5) {
        let axis = usize::from(draw.chance(0.5));
        let side = if draw.chance(0.5) { 1.0 } else { -1.0 };
        centre[axis] = side * half[axis];
    }
    centre
}

fn scratch(surface: &Surface, contrast: f32, thinnest: f32, draw: &mut Draw) -> (Shape, f32) {
    const PIECES: usize = 20;
    let half_length = draw.mostly_low(16.0, 90.0);
    // Across the lay, by 20° at least: along it a scratch would be one tool mark more.
    let along = loop {
        let direction = draw.direction();
        if dot(direction, surface.lay()).abs() < 0.94 {
            break direction;
        }
    };
    let bow = half_length * draw.between(-0.18, 0.18);
    let widest = draw.mostly_low(0.8, 2.6).max(thinnest);
    let bottom = if draw.chance(0.7) { 0.75 } else { -0.65 };
    let seed = draw.seed();
    let points = polyline(PIECES, |t| {
        let s = 2.0 * t - 1.0;
        let sideways = bow * (1.0 - s * s) + 0.5 * noise1(t * 9.0, seed);
        let position = [
            along[0] * s * half_length - along[1] * sideways,
            along[1] * s * half_length + along[0] * sideways,
        ];
        // Pressed hardest at the start, lifted towards the end, skipping a little.
        let pressure = (1.0 - t).sqrt() * (t * 8.0).min(1.0);
        let skip = 0.8 + 0.3 * noise1(t * 12.0, seed ^ 1);
        let half_width = (widest * (0.5 + 0.5 * pressure)).max(thinnest);
        (position, half_width, 0.85 * contrast * pressure * skip)
    });
    let reach = half_length + bow.abs() + 4.0 * widest + 2.0;
    let shape = Shape::Scratch {
        segments: points,
        bottom,
    };
    (shape, reach)
}

fn pit(contrast: f32, thinnest: f32, draw: &mut Draw) -> (Shape, f32) {
    let spread = draw.between(3.0, 26.0);
    let mut reach = 0.0f32;
    let pores = (0..draw.count(1, 9))
        .map(|index| {
            let direction = draw.direction();
            // The first one in the middle, the others around it.
            let away = if index == 0 {
                0.0
            } else {
                spread * draw.unit()
            };
            let radius = draw.mostly_low(1.2, 4.6).max(1.4 * thinnest);
            reach = reach.max(away + 1.7 * radius);
            Pore {
                centre: [direction[0] * away, direction[1] * away],
                radius,
                depth: (0.2 + 0.7 * contrast) * draw.between(0.7, 1.0),
            }
        })
        .collect();
    (Shape::Pit { pores }, reach)
}

fn crack(contrast: f32, thinnest: f32, draw: &mut Draw) -> (Shape, f32) {
    let half_width = draw.between(0.6, 1.15).max(thinnest);
    let strength = 0.2 + 0.7 * contrast;
    let length = draw.mostly_low(26.0, 130.0);
    let mut segments = Vec::new();
    let mut walk = |mut at: [f32; 2], mut heading: [f32; 2], length: f32, draw: &mut Draw| {
        let mut gone = 0.0;
        let mut corners = Vec::new();
        while gone < length {
            let step = draw.between(2.0, 6.0);
            // Turns by up to ±35°, and a slow pull back to the general direction.
            let turn = draw.between(-0.6, 0.6);
            let next = unit([
                heading[0] - turn * heading[1],
                heading[1] + turn * heading[0],
            ]);
            let to = [at[0] + next[0] * step, at[1] + next[1] * step];
            let taper = |gone: f32| (1.0 - gone / (length + 6.0)).max(0.0).sqrt();
            let (before, after) = (taper(gone), taper(gone + step));
            segments.push(Segment {
                from: at,
                along: next,
                length: step,
                half_width: [
                    (half_width * before).max(thinnest),
                    (half_width * after).max(thinnest),
                ],
                strength: [strength * before, strength * after],
            });
            corners.push((to, next));
            heading = unit([heading[0] + 0.3 * next[0], heading[1] + 0.3 * next[1]]);
            at = to;
            gone += step;
        }
        corners
    };
    let heading = draw.direction();
    let start = [-heading[0] * length * 0.5, -heading[1] * length * 0.5];
    let corners = walk(start, heading, length, draw);
    for _ in 0..draw.count(0, 3) {
        let (at, heading) = corners[draw.count(0, corners.len() as u32 - 1) as usize];
        let turn = if draw.chance(0.5) { 0.8 } else { -0.8 };
        let away = unit([
            heading[0] - turn * heading[1],
            heading[1] + turn * heading[0],
        ]);
        walk(at, away, length * draw.between(0.15, 0.4), draw);
    }
    let reach = segments
        .iter()
        .flat_map(|s| [s.from, s.to()])
        .map(|p| dot(p, p).sqrt())
        .fold(0.0, f32::max)
        + 4.0 * half_width;
    (Shape::Crack { segments }, reach)
}

fn crack_at(p: [f32; 2], segments: &[Segment]) -> Touch {
    let Some((offset, _, half_width, strength)) = nearest(p, segments) else {
        return Touch::NONE;
    };
    let t = offset / half_width;
    Touch {
        gain: (1.0 - strength * bump(t)).max(0.0),
        // One lip stands a little higher and shines.
        glint: 0.14 * strength * bump((t - 1.5) / 0.9),
        ..Touch::NONE
    }
}

#[cfg(test)]
mod tests;
