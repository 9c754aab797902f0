//! The ONNX file of a density of Gaussians at each location: read, probed, written anew.

use nalgebra::{DMatrix, DVector};

use super::sums::{CellSums, Gaussian, Known};
use crate::backend::onnx::{
    Dim, GraphProto, Message, ModelProto, NodeProto, TensorProto, ValueInfoProto,
    tensor_proto::DataType, type_proto,
};

/// Values of the graph's names: what it compares, and by what.
const VECTORS: &str = "projected";
const COVARIATE: &str = "context";
const MEAN: &str = "cell_mean";

/// Keys of the file's metadata.
const KIND: &str = "edge_vae.features";
const WEIGHT: &str = "edge_vae.weight";
const FLOORS: &str = "edge_vae.floors";

/// Kinds of densities that have a Gaussian for each location.
const KINDS: [&str; 2] = ["per-location Gaussian", "local-neighbourhood minimum"];

/// A density file, and what is in it.
#[derive(Clone, Debug)]
pub(super) struct DensityFile {
    model: ModelProto,
    pub(super) known: Known,
    /// r.
    pub(super) components: usize,
    /// Components of the covariate.
    pub(super) covariate: usize,
    /// Rows and columns.
    grid: [usize; 2],
    pub(super) cells: Vec<Gaussian>,
}

impl DensityFile {
    /// Reads a file.
    ///
    /// # Errors
    /// Why it can't be adapted, in words that follow its name.
    pub(super) fn read(bytes: &[u8]) -> Result<Self, String> {
        let model = ModelProto::decode(bytes).map_err(|error| format!("is no ONNX: {error}"))?;
        let entry = |key: &str| {
            let mut all = model.metadata_props.iter();
            all.find(|entry| entry.key == key)
                .map(|entry| entry.value.as_str())
        };
        let kind = entry(KIND).unwrap_or("trained network");
        if !KINDS.contains(&kind) {
            return Err(format!("is a {kind}, which only training can change"));
        }
        let numbers = |key: &str| -> Result<Vec<f64>, String> {
            let values = entry(key).unwrap_or_default().split_whitespace();
            let values: Option<Vec<f64>> = values.map(|value| value.parse().ok()).collect();
            let positive = |value: &f64| value.is_finite() && *value > 0.0;
            let values = values.filter(|values| !values.is_empty() && values.iter().all(positive));
            values.ok_or_else(|| {
                "does not say how many frames it knows: it is of an older version, fit it again"
                    .to_owned()
            })
        };
        let known = Known {
            weight: numbers(WEIGHT)?[0],
            floors: numbers(FLOORS)?,
        };
        let graph = model.graph.as_ref().ok_or("has no graph")?;
        let grid = grid(graph).ok_or("has no map as its output")?;
        let cells = grid[0] * grid[1];
        let mean = find(graph, MEAN)?;
        let means = floats(mean)?;
        let components = means.len() / cells.max(1);
        if components == 0 || means.len() != cells * components {
            return Err(odd(MEAN));
        }
        if known.floors.len() != components {
            return Err(odd(FLOORS));
        }
        let length = components * (components + 1) / 2;
        let (mut whitening, mut expected) = (Vec::new(), Vec::new());
        for part in 0.. {
            let name = format!("whitening{part}");
            let Ok(packed) = find(graph, &format!("{name}.square.packed")) else {
                break;
            };
            let triangles = packed_bytes(packed)?.chunks_exact(length + 1);
            let scales = floats(find(graph, &format!("{name}.scale"))?)?;
            if !triangles.remainder().is_empty() || scales.len() != triangles.len() * components {
                return Err(odd(&name));
            }
            // Behind each triangle stands a zero.
            let rows = triangles.flat_map(|triangle| {
                (0..components).map(|row| &triangle[row * (row + 1) / 2..][..=row])
            });
            whitening.extend(
                rows.zip(scales)
                    .flat_map(|(row, scale)| widened(row, scale)),
            );
            let name = format!("expected{part}");
            if let Ok(stored) = find(graph, &format!("{name}.i8")) {
                let stored = packed_bytes(stored)?;
                let scales = floats(find(graph, &format!("{name}.scale"))?)?;
                let row = stored.len() / scales.len().max(1);
                if row == 0 || row * scales.len() != stored.len() {
                    return Err(odd(&name));
                }
                let rows = stored.chunks_exact(row).zip(scales);
                expected.extend(rows.flat_map(|(row, scale)| widened(row, scale)));
            }
        }
        if whitening.len() != cells * length {
            return Err(odd("whitening"));
        }
        let covariate = expected.len() / (cells * components);
        if expected.len() != cells * components * covariate {
            return Err(odd("expected"));
        }
        let cell = |place: usize| {
            let triangle = &whitening[place * length..][..length];
            let expected = &expected[place * components * covariate..][..components * covariate];
            let mean = means[place * components..][..components].iter();
            Gaussian {
                mean: DVector::from_iterator(components, mean.map(|&m| f64::from(m))),
                whitening: DMatrix::from_fn(components, components, |row, column| {
                    match column <= row {
                        true => triangle[row * (row + 1) / 2 + column],
                        false => 0.0,
                    }
                }),
                expected: DMatrix::from_row_slice(components, covariate, expected),
            }
        };
        Ok(Self {
            cells: (0..cells).map(cell).collect(),
            known,
            components,
            covariate,
            grid,
            model,
        })
    }

    /// A graph of the same inputs that makes the vectors that are compared, and the covariate where
    /// there is one: N×r×rows×columns and N×1×c×1, under these names.
    pub(super) fn probe(&self, vectors: &str, covariate: &str) -> Vec<u8> {
        let mut model = self.model.clone();
        let Some(graph) = &mut model.graph else {
            return Vec::new();
        };
        let mut outputs = vec![(
            VECTORS,
            vectors,
            [self.components, self.grid[0], self.grid[1]],
        )];
        if self.covariate > 0 {
            outputs.push((COVARIATE, covariate, [1, self.covariate, 1]));
        }
        graph.output.clear();
        let mut needed: Vec<String> = Vec::new();
        for (from, to, shape) in outputs {
            graph.node.push(NodeProto {
                op_type: "Identity".to_owned(),
                name: to.to_owned(),
                input: vec![from.to_owned()],
                output: vec![to.to_owned()],
                ..NodeProto::default()
            });
            let sides = shape.map(|side| Dim::DimValue(side as i64));
            let batch = Dim::DimParam("N".to_owned());
            let shape = [batch].into_iter().chain(sides);
            graph.output.push(ValueInfoProto::float_tensor(to, shape));
            needed.push(to.to_owned());
        }
        // Nodes stand in the order of their work.
        let mut kept = Vec::new();
        for node in graph.node.drain(..).rev() {
            if node.output.iter().any(|output| needed.contains(output)) {
                needed.extend(node.input.iter().cloned());
                kept.push(node);
            }
        }
        kept.reverse();
        graph.node = kept;
        graph
            .initializer
            .retain(|tensor| needed.contains(&tensor.name));
        graph.input.retain(|input| needed.contains(&input.name));
        model.encode_to_vec()
    }

    /// Differences of a frame's vectors (r×cells) from what is expected where the covariate is `a`,
    /// added to the sums of the cells.
    pub(super) fn add(
        &self,
        slopes: &[DMatrix<f64>],
        (vectors, a): (&[f32], &[f32]),
        sums: &mut [CellSums],
    ) {
        let cells = self.cells.len();
        let a = DVector::from_iterator(a.len(), a.iter().map(|&a| f64::from(a)));
        let each = sums.iter_mut().zip(&self.cells).zip(slopes).enumerate();
        each.for_each(|(place, ((sums, cell), slope))| {
            let vector = vectors.iter().skip(place).step_by(cells);
            let mut difference =
                DVector::from_iterator(self.components, vector.map(|&y| f64::from(y)));
            difference -= &cell.mean;
            if self.covariate > 0 {
                difference -= slope * &a;
            }
            sums.add(&difference);
        });
    }

    /// The file with the frames in `sums` added, of which there are `frames` and each counts
    /// `weight` times.
    ///
    /// # Errors
    /// Frames whose features are no numbers.
    pub(super) fn with(
        &self,
        sums: &[CellSums],
        (frames, weight): (f64, f64),
    ) -> Result<Vec<u8>, String> {
        let each = self.cells.iter().zip(sums);
        let cells: Option<Vec<Gaussian>> = each
            .map(|(cell, sums)| cell.with(&self.known, sums, (frames, weight)))
            .collect();
        let cells = cells.ok_or("the features of the frames make no covariance")?;
        let mut model = self.model.clone();
        for entry in &mut model.metadata_props {
            if entry.key == WEIGHT {
                entry.value = (self.known.weight + frames * weight).to_string();
            }
        }
        let graph = model.graph.as_mut().ok_or("has no graph")?;
        let means = cells.iter().flat_map(|cell| cell.mean.iter());
        let means = means.flat_map(|&m| (m as f32).to_le_bytes()).collect();
        replace(graph, MEAN, means)?;
        let mut first = 0;
        for part in 0.. {
            let name = format!("whitening{part}");
            let packed = format!("{name}.square.packed");
            let Ok(tensor) = find(graph, &packed) else {
                break;
            };
            let count = tensor.dims.first().map_or(0, |&count| count as usize);
            let of_part = cells.get(first..first + count);
            let of_part = of_part.ok_or_else(|| odd(&packed))?;
            first += count;
            let (mut scales, mut triangles) = (Vec::new(), Vec::new());
            for cell in of_part {
                for (i, row) in cell.whitening.row_iter().enumerate() {
                    let row: Vec<f64> = row.iter().copied().take(i + 1).collect();
                    quantise(&row, &mut scales, &mut triangles);
                }
                triangles.push(0);
            }
            replace(graph, &packed, triangles)?;
            replace(graph, &format!("{name}.scale"), scales)?;
            if self.covariate > 0 {
                let (mut scales, mut rows) = (Vec::new(), Vec::new());
                for row in of_part.iter().flat_map(|cell| cell.expected.row_iter()) {
                    let row: Vec<f64> = row.iter().copied().collect();
                    quantise(&row, &mut scales, &mut rows);
                }
                replace(graph, &format!("expected{part}.scale"), scales)?;
                replace(graph, &format!("expected{part}.i8"), rows)?;
            }
        }
        Ok(model.encode_to_vec())
    }
}

/// Adds a row in units of a 127th of its largest value: the unit, and a byte for each element.
fn quantise(row: &[f64], scales: &mut Vec<u8>, bytes: &mut Vec<u8>) {
    let largest = row
        .iter()
        .fold(0.0, |most: f64, value| most.max(value.abs()));
    let scale = (largest / f64::from(i8::MAX)) as f32;
    let unit = f64::from(scale.max(f32::MIN_POSITIVE));
    scales.extend(scale.to_le_bytes());
    bytes.extend(row.iter().map(|value| {
        let rounded = (value / unit).round().clamp(-127.0, 127.0) as i8;
        rounded.cast_unsigned()
    }));
}

/// The elements of a row of bytes.
fn widened(row: &[u8], scale: f32) -> impl Iterator<Item = f64> {
    row.iter()
        .map(move |&byte| f64::from(byte.cast_signed()) * f64::from(scale))
}

/// Rows and columns of the only output.
fn grid(graph: &GraphProto) -> Option<[usize; 2]> {
    let [output] = &graph.output[..] else {
        return None;
    };
    let type_proto::Value::TensorType(tensor) = output.r#type.as_ref()?.value.as_ref()?;
    let [.., rows, columns] = &tensor.shape.as_ref()?.dim[..] else {
        return None;
    };
    let [rows, columns] = [rows, columns].map(|dimension| match dimension.value {
        Some(Dim::DimValue(side)) => usize::try_from(side).ok(),
        _ => None,
    });
    Some([rows?, columns?])
}

fn find<'a>(graph: &'a GraphProto, name: &str) -> Result<&'a TensorProto, String> {
    let mut all = graph.initializer.iter();
    all.find(|tensor| tensor.name == name)
        .ok_or_else(|| odd(name))
}

/// Takes other values of the same number.
fn replace(graph: &mut GraphProto, name: &str, raw: Vec<u8>) -> Result<(), String> {
    let mut all = graph.initializer.iter_mut();
    let tensor = all.find(|tensor| tensor.name == name);
    let tensor = tensor.filter(|tensor| tensor.raw_data.len() == raw.len());
    tensor.ok_or_else(|| odd(name))?.raw_data = raw;
    Ok(())
}

fn floats(tensor: &TensorProto) -> Result<Vec<f32>, String> {
    let (values, rest) = tensor.raw_data.as_chunks::<4>();
    match tensor.data_type == DataType::Float as i32 && rest.is_empty() {
        true => Ok(values
            .iter()
            .map(|bytes| f32::from_le_bytes(*bytes))
            .collect()),
        false => Err(odd(&tensor.name)),
    }
}

fn packed_bytes(tensor: &TensorProto) -> Result<&[u8], String> {
    match tensor.data_type == DataType::Int8 as i32 {
        true => Ok(&tensor.raw_data),
        false => Err(odd(&tensor.name)),
    }
}

fn odd(name: &str) -> String {
    format!("stores `{name}` in another way than this version can change: fit it again")
}
