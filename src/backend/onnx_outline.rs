//! What a walk through the bytes of an ONNX file tells before anything is decoded: how many
//! messages it has, and how deep they lie.

use super::GraphLimits;

/// The messages that hold others, or of which there may be many. What any other holds is skipped.
#[derive(Clone, Copy)]
enum Kind {
    Model,
    Graph,
    Node,
    Attribute,
    Value,
    Type,
    TensorType,
    Shape,
    Tensor,
    /// Its fields are counted, and are taken for no messages.
    Leaf,
}

impl Kind {
    /// The message of a field, by its number in `onnx.proto`.
    fn of(self, field: u64) -> Option<Self> {
        match (self, field) {
            (Self::Model, 7) => Some(Self::Graph),
            (Self::Model, 8 | 14) => Some(Self::Leaf),
            (Self::Graph, 1) => Some(Self::Node),
            (Self::Graph, 5) => Some(Self::Tensor),
            (Self::Graph, 11..=13) => Some(Self::Value),
            (Self::Graph, 15) => Some(Self::Leaf),
            (Self::Node, 5) => Some(Self::Attribute),
            (Self::Attribute, 5 | 10) => Some(Self::Tensor),
            (Self::Attribute, 6 | 11) => Some(Self::Graph),
            (Self::Tensor, 13) => Some(Self::Leaf),
            (Self::Value, 2) => Some(Self::Type),
            (Self::Type, 1) => Some(Self::TensorType),
            (Self::TensorType, 2) => Some(Self::Shape),
            (Self::Shape, 1) => Some(Self::Leaf),
            _ => None,
        }
    }

    /// Whether a field is a list of integers, of which one byte in the file is eight in memory.
    fn is_list(self, field: u64) -> bool {
        matches!(
            (self, field),
            (Self::Attribute, 8) | (Self::Tensor, 1 | 5 | 7 | 11)
        )
    }
}

/// Checks the counts of a file that is a sequence of fields; one that is none is left to the
/// decoder, which says so.
///
/// # Errors
/// More fields, nodes or depth than `limits` has.
pub(super) fn check(bytes: &[u8], limits: &GraphLimits) -> Result<(), String> {
    let mut outline = Outline {
        limits,
        fields: 0,
        nodes: 0,
    };
    outline.walk(bytes, Kind::Model, 1)
}

struct Outline<'a> {
    limits: &'a GraphLimits,
    fields: usize,
    nodes: usize,
}

impl Outline<'_> {
    fn walk(&mut self, bytes: &[u8], kind: Kind, depth: usize) -> Result<(), String> {
        let limits = self.limits;
        if depth > limits.depth {
            return Err(format!(
                "its messages lie more than {} deep in each other: it is damaged, or made to harm",
                limits.depth
            ));
        }
        let mut rest = bytes;
        while let Some((field, content)) = next_field(&mut rest) {
            self.fields += 1;
            if self.fields > limits.fields {
                return Err(format!(
                    "it has more than {} fields, weights apart: it is damaged, or made to harm",
                    limits.fields
                ));
            }
            let Some(content) = content else {
                continue;
            };
            if kind.is_list(field) && content.len() > limits.elements / 2 {
                return Err(format!(
                    "it has a list of {} bytes, at most {} are read",
                    content.len(),
                    limits.elements / 2
                ));
            }
            let Some(inner) = kind.of(field) else {
                continue;
            };
            if matches!(inner, Kind::Node) {
                self.nodes += 1;
                if self.nodes > limits.nodes {
                    return Err(format!("it has more than {} nodes", limits.nodes));
                }
            }
            self.walk(content, inner, depth + 1)?;
        }
        Ok(())
    }
}

/// Number of the next field, and its bytes where it has a length; `None` at the end, and where the
/// bytes are no field.
fn next_field<'a>(rest: &mut &'a [u8]) -> Option<(u64, Option<&'a [u8]>)> {
    let key = varint(rest)?;
    let length = match key & 7 {
        0 => {
            varint(rest)?;
            return Some((key >> 3, None));
        }
        1 => 8,
        2 => usize::try_from(varint(rest)?).ok()?,
        5 => 4,
        _ => return None,
    };
    let (content, after) = rest.split_at_checked(length)?;
    *rest = after;
    Some((key >> 3, (key & 7 == 2).then_some(content)))
}

fn varint(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (&byte, after) = rest.split_first()?;
        *rest = after;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::test_graphs::{encode, two_heads};

    /// A field with a length.
    fn field(number: u8, content: &[u8]) -> Vec<u8> {
        let mut bytes = vec![number << 3 | 2];
        let mut length = content.len();
        while length >= 0x80 {
            bytes.push(length as u8 | 0x80);
            length >>= 7;
        }
        bytes.push(length as u8);
        bytes.extend(content);
        bytes
    }

    #[test]
    fn an_ordinary_graph_is_far_from_every_limit() {
        let bytes = encode(&two_heads());
        let limits = GraphLimits {
            fields: 200,
            depth: 7,
            nodes: 20,
            ..GraphLimits::default()
        };
        assert_eq!(check(&bytes, &limits), Ok(()));
        assert_eq!(check(b"\x89PNG\r\n\x1a\n", &limits), Ok(()));
    }

    #[test]
    fn many_and_deep_messages_are_refused_before_they_are_decoded() {
        let limits = GraphLimits::default();
        // Each node has two bytes here, and more than a hundred in memory.
        let nodes = field(7, &field(1, &[]).repeat(20_001));
        let problem = check(&nodes, &limits).unwrap_err();
        assert_eq!(problem, "it has more than 20000 nodes");
        let inputs = field(7, &field(1, &field(1, &[]).repeat(1_000_001)));
        let problem = check(&inputs, &limits).unwrap_err();
        assert!(problem.contains("more than 1000000 fields"), "{problem}");
        let mut deep = Vec::new();
        for _ in 0..10_000 {
            // A graph in an attribute of a node of a graph.
            deep = field(1, &field(5, &field(6, &deep)));
        }
        let problem = check(&field(7, &deep), &limits).unwrap_err();
        assert!(problem.contains("more than 16 deep"), "{problem}");
    }
}
