//! Lines of straight pieces, whose width and strength change along them.

/// One piece of a line-like defect.
pub(super) struct Segment {
    pub(super) from: [f32; 2],
    /// Unit vector.
    pub(super) along: [f32; 2],
    pub(super) length: f32,
    /// Half width and strength at both ends.
    pub(super) half_width: [f32; 2],
    pub(super) strength: [f32; 2],
}

impl Segment {
    pub(super) fn to(&self) -> [f32; 2] {
        [
            self.from[0] + self.along[0] * self.length,
            self.from[1] + self.along[1] * self.length,
        ]
    }
}

/// Segments through points of a curve; `at` gives position, half width and strength for t from
/// 0 to 1.
pub(super) fn polyline(pieces: usize, at: impl Fn(f32) -> ([f32; 2], f32, f32)) -> Vec<Segment> {
    (0..pieces)
        .map(|k| {
            let (from, width_from, strength_from) = at(k as f32 / pieces as f32);
            let (to, width_to, strength_to) = at((k + 1) as f32 / pieces as f32);
            let way = [to[0] - from[0], to[1] - from[1]];
            Segment {
                from,
                along: unit(way),
                length: dot(way, way).sqrt(),
                half_width: [width_from, width_to],
                strength: [strength_from, strength_to],
            }
        })
        .collect()
}

/// The nearest piece of a line, measured in its half widths: signed distance to its right, its
/// direction, its half width and strength there. `None` when no piece is within 3 half widths.
pub(super) fn nearest(p: [f32; 2], segments: &[Segment]) -> Option<(f32, [f32; 2], f32, f32)> {
    let mut best = None;
    let mut smallest = 3.0;
    for segment in segments {
        let q = [p[0] - segment.from[0], p[1] - segment.from[1]];
        let along = dot(q, segment.along).clamp(0.0, segment.length);
        let rest = [
            q[0] - along * segment.along[0],
            q[1] - along * segment.along[1],
        ];
        let t = along / segment.length.max(1e-6);
        let half_width =
            segment.half_width[0] + t * (segment.half_width[1] - segment.half_width[0]);
        let distance = dot(rest, rest).sqrt();
        if distance < smallest * half_width {
            smallest = distance / half_width;
            let side = q[1] * segment.along[0] - q[0] * segment.along[1];
            let strength = segment.strength[0] + t * (segment.strength[1] - segment.strength[0]);
            best = Some((
                if side < 0.0 { -distance } else { distance },
                segment.along,
                half_width,
                strength,
            ));
        }
    }
    best
}

pub(super) fn dot(a: [f32; 2], b: [f32; 2]) -> f32 {
    a[0] * b[0] + a[1] * b[1]
}

pub(super) fn unit(v: [f32; 2]) -> [f32; 2] {
    let length = dot(v, v).sqrt().max(1e-9);
    [v[0] / length, v[1] / length]
}
