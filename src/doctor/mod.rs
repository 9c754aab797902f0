//! What a machine has, what is wrong with it, and what to do: one [`Finding`] a line.
//!
//! Nothing is changed. A disk is measured by files that are removed at once; peers of a
//! configuration are connected to and left. What a machine is asked stands behind [`Machine`], so
//! that each finding has a test with a recorded machine.

mod board;
mod cameras;
mod clock;
mod configuration;
mod engine;
mod finding;
mod gpu;
mod heat;
mod libraries;
mod machine;
mod onnx_runtime;
mod permissions;
mod power;
#[cfg(test)]
mod recorded;
mod storage;
#[cfg(test)]
mod tests;
mod this_machine;

use std::path::PathBuf;

use crate::stream::Configuration;

pub use engine::engine;
pub use finding::{Finding, Severity};
pub use machine::{Machine, WriteSpeed};
pub use this_machine::ThisMachine;

/// Examines a machine: the board, what judges, what sees, what limits, and whether a configuration
/// can run here. `engine` gives the findings of the engine and the model, see [`engine()`].
///
/// It takes as long as peers take to answer, at most 2 seconds for each address of theirs, and up
/// to 2 seconds for each disk.
pub fn examine(
    machine: &dyn Machine,
    configuration: Option<&Configuration>,
    engine: impl FnOnce() -> Vec<Finding>,
) -> Vec<Finding> {
    let runtimes = onnx_runtime::find(machine);
    let gpu = gpu::find(machine);
    let mut findings = board::examine(machine);
    findings.extend(gpu::examine(machine, gpu.as_ref(), &runtimes));
    findings.extend(onnx_runtime::examine(machine, gpu.is_some(), &runtimes));
    findings.extend(engine());
    findings.extend(cameras::examine(machine));
    findings.extend(permissions::examine(machine));
    findings.extend(power::examine(machine));
    findings.extend(heat::examine(machine));
    findings.push(storage::memory(machine));
    findings.extend(disks(machine, configuration));
    findings.push(clock::examine(machine));
    if let Some(configuration) = configuration {
        findings.extend(configuration::examine(machine, configuration));
    }
    findings
}

/// Disks of the folders that a configuration writes to, else that of messages that wait.
fn disks(machine: &dyn Machine, configuration: Option<&Configuration>) -> Vec<Finding> {
    let folders: Vec<PathBuf> = configuration
        .into_iter()
        .flat_map(Configuration::sink_needs)
        .filter_map(|(_, needs)| Some(needs.ok()?.folders))
        .flatten()
        .collect();
    if !folders.is_empty() {
        return storage::disks(machine, &folders, true);
    }
    let usual: Vec<PathBuf> = storage::state_folder(machine).into_iter().collect();
    storage::disks(machine, &usual, false)
}

/// Whether anything keeps it from running here.
pub fn has_errors(findings: &[Finding]) -> bool {
    findings
        .iter()
        .any(|finding| finding.severity == Severity::Error)
}
