//! How long each node of a graph takes, as the engine itself sees its nodes.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

/// Times of all nodes that have run, of all graphs that were loaded with them; see
/// [`Engine::time_nodes`](super::Engine::time_nodes). Copies share what they note.
#[derive(Clone, Debug, Default)]
pub struct NodeTimes(Arc<Mutex<BTreeMap<(String, String), Spent>>>);

#[derive(Debug, Default)]
struct Spent {
    operator: String,
    runs: u64,
    time: Duration,
}

/// What one node took.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeTime {
    /// The graph that it is of.
    pub graph: String,
    /// The node. An engine merges nodes of the file, and then names the rest as it likes.
    pub node: String,
    /// What it computes, in the engine's words.
    pub operator: String,
    /// How often it has run.
    pub runs: u64,
    /// The time of all these runs.
    pub time: Duration,
}

impl NodeTimes {
    /// The nodes, the slowest first. Those of ONNX Runtime are there when their graph was dropped.
    pub fn slowest_first(&self) -> Vec<NodeTime> {
        let times = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut nodes: Vec<NodeTime> = times
            .iter()
            .map(|((graph, node), spent)| NodeTime {
                graph: graph.clone(),
                node: node.clone(),
                operator: spent.operator.clone(),
                runs: spent.runs,
                time: spent.time,
            })
            .collect();
        nodes.sort_by_key(|node| std::cmp::Reverse(node.time));
        nodes
    }

    pub(super) fn note(&self, graph: &str, node: &str, operator: &str, time: Duration) {
        let mut times = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let spent = times
            .entry((graph.to_owned(), node.to_owned()))
            .or_insert_with(|| Spent {
                operator: operator.to_owned(),
                ..Spent::default()
            });
        spent.runs += 1;
        spent.time += time;
    }
}

#[cfg(all(test, feature = "tract"))]
mod tests {
    use super::*;
    use crate::backend::{
        BackendKind, Engine, EngineOptions, Graph,
        test_graphs::{encode, two_heads, values},
    };

    fn times_of(backend: BackendKind, runs: usize) -> Vec<NodeTime> {
        let mut engine = Engine::open(&EngineOptions {
            backend: Some(backend),
            ..EngineOptions::default()
        })
        .unwrap();
        let times = engine.time_nodes();
        let mut graph = engine.load(&encode(&two_heads()), "two heads", 1).unwrap();
        let mut plain = Engine::open(&EngineOptions::default())
            .unwrap()
            .load(&encode(&two_heads()), "two heads", 1)
            .unwrap();
        let run = |graph: &mut dyn Graph| {
            let (mut a, mut b) = ([0.0; 4], [0.0; 4]);
            let input = values(1, 72);
            graph.run(&[&input], &mut [&mut a, &mut b]).unwrap();
            [a, b].concat()
        };
        let expected = run(&mut *plain);
        for _ in 0..runs {
            let found = run(&mut *graph);
            let near = found
                .iter()
                .zip(&expected)
                .all(|(a, b)| (a - b).abs() < 1e-5);
            assert!(near, "{found:?} {expected:?}");
        }
        drop(graph);
        times.slowest_first()
    }

    fn check(nodes: &[NodeTime], runs: u64) {
        assert!(nodes.len() >= 3, "{nodes:?}");
        assert!(nodes.is_sorted_by(|a, b| a.time >= b.time), "{nodes:?}");
        for node in nodes {
            assert_eq!((&node.graph[..], node.runs), ("two heads", runs));
            assert!(!node.node.is_empty() && !node.operator.is_empty());
        }
    }

    #[test]
    fn each_node_of_tract_is_noted_once_a_run() {
        check(&times_of(BackendKind::Tract, 3), 3);
    }

    #[cfg(feature = "ort")]
    #[test]
    fn each_node_of_onnx_runtime_is_noted_once_a_run() {
        if std::env::var_os("ORT_DYLIB_PATH").is_none() {
            eprintln!("skipped: ORT_DYLIB_PATH names no ONNX Runtime");
            return;
        }
        check(&times_of(BackendKind::Ort, 3), 3);
    }

    #[test]
    fn copies_note_in_one_place() {
        let times = NodeTimes::default();
        times.note("graph", "node", "Add", Duration::from_micros(2));
        times
            .clone()
            .note("graph", "node", "Add", Duration::from_micros(3));
        let [node] = &times.slowest_first()[..] else {
            panic!("{times:?}")
        };
        assert_eq!((node.runs, node.time), (2, Duration::from_micros(5)));
    }
}
