//! Curves as data.

/// A point is left out where it is closer than this to the last one in both directions: finer than
/// the pixels of a drawn curve.
const STEP: f64 = 1.0 / 512.0;

/// A curve from (0, 0) with ascending x and y, both in [0, 1], to be drawn with straight lines
/// between its points.
#[derive(Clone, Debug, PartialEq)]
pub struct Curve {
    /// x and y of each point; of millions, those that a drawing can show: the drawn curve is at
    /// most 1/512 away from any point left out.
    pub points: Vec<[f64; 2]>,
}

/// Collects the points of a curve.
pub(super) struct CurveBuilder {
    points: Vec<[f64; 2]>,
    /// The last point, where it was left out.
    left_out: Option<[f64; 2]>,
}

impl CurveBuilder {
    /// A curve that begins at (0, 0).
    pub(super) fn new() -> Self {
        Self {
            points: vec![[0.0, 0.0]],
            left_out: None,
        }
    }

    pub(super) fn push(&mut self, x: f64, y: f64) {
        let near = self
            .points
            .last()
            .is_some_and(|last| x - last[0] < STEP && y - last[1] < STEP);
        if near {
            self.left_out = Some([x, y]);
        } else {
            // The line to a far point starts where the curve really leaves.
            self.points.extend(self.left_out.take());
            self.points.push([x, y]);
        }
    }

    pub(super) fn finish(mut self) -> Curve {
        self.points.extend(self.left_out.take());
        Curve {
            points: self.points,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_million_points_become_some_hundred_and_corners_stay() {
        let mut curve = CurveBuilder::new();
        for i in 1..=1_000_000 {
            let x = f64::from(i) / 1e6;
            curve.push(x, if x < 0.5 { 0.001 * x } else { 0.5 + 0.5 * x });
        }
        let points = curve.finish().points;
        assert!(points.len() < 1100, "{}", points.len());
        assert_eq!(points.first(), Some(&[0.0, 0.0]));
        assert_eq!(points.last(), Some(&[1.0, 1.0]));
        let corner = points.iter().position(|p| p[0] == 0.5).unwrap();
        assert_eq!(points[corner - 1][0], 0.499_999);
        let gap = |pair: &[[f64; 2]]| (pair[1][0] - pair[0][0]).max(pair[1][1] - pair[0][1]);
        let wide = points
            .windows(2)
            .filter(|pair| gap(pair) > 2.0 * STEP)
            .count();
        assert_eq!(wide, 1);
    }
}
