use std::{
    path::Path,
    sync::atomic::AtomicBool,
    time::{Duration, Instant},
};

use candle_core::Tensor;
use edge_vae::{preprocess::Normalise, vae::Likelihood};
use rand::RngExt;

use super::{
    super::{Checkpoint, Network, Start, State, train},
    *,
};
use crate::{
    data::Frames,
    options::{Budget, Golden, LatentChoice, Preset},
    random::{Purpose, stream},
    reporter::Reporter,
};

/// A network and frames to train it on.
struct Bench {
    network: Network,
    options: FitOptions,
    frames: Frames,
    normalise: Normalise,
    folder: tempfile::TempDir,
    interrupted: AtomicBool,
}

const TRAIN: [usize; 9] = [0, 1, 2, 3, 4, 5, 6, 7, 8];
const VALIDATION: [usize; 2] = [9, 10];
const STEPS: u64 = 4;

impl Bench {
    fn new(preset: Preset, side: usize) -> Self {
        let mut random = stream(3, Purpose::Weights, 0);
        let values = (0..11 * side * side).map(|_| random.random::<f32>());
        let mut options = FitOptions::defaults(preset);
        options.budget = Budget::Steps(STEPS);
        // No number of shards but 1 and 7 divides it.
        options.batch = 7;
        options.shards = 3;
        let latent = Some(LatentChoice::Vector(8)).filter(|_| preset == Preset::Small28);
        let spec = preset.spec([side; 2], 1, Likelihood::GaussianLearned, latent);
        Self {
            network: match options.head {
                Some(_) => Network::with_head(preset, spec),
                None => Network::new(preset, spec),
            },
            options,
            frames: Frames::new([1, side, side], values.collect()),
            normalise: Normalise::identity(1),
            folder: tempfile::tempdir().unwrap(),
            interrupted: AtomicBool::new(false),
        }
    }

    fn small() -> Self {
        Self::new(Preset::Small28, 28)
    }

    fn training<'a>(&'a self, devices: &'a [Device], reporter: &'a Reporter) -> Training<'a> {
        Training {
            network: &self.network,
            frames: &self.frames,
            normalise: &self.normalise,
            train: &TRAIN,
            validation: &VALIDATION,
            crop: None,
            began: Instant::now(),
            afterwards: 0.0,
            folder: self.folder.path(),
            devices,
            interrupted: &self.interrupted,
            reporter,
        }
    }

    fn start(&self) -> Start {
        let state = State::new(
            self.options.clone(),
            Golden::CalibrationFrame,
            String::new(),
        );
        Start::New(Box::new(state))
    }

    /// Trains on so many processors; what is then in the checkpoint.
    fn train(&self, devices: usize, start: Start) -> Result<Vec<(String, Vec<u8>)>> {
        let devices = vec![Device::Cpu; devices];
        train(&self.training(&devices, &Reporter::new(true)), start)?;
        Ok(contents(self.folder.path()))
    }
}

/// All that a checkpoint holds but the time that it took.
fn contents(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let Checkpoint {
        mut state,
        values,
        best,
        optimiser,
    } = Checkpoint::load(folder).unwrap();
    state.seconds = 0.0;
    for record in &mut state.records {
        record.seconds = 0.0;
    }
    let bytes = |t: &Tensor| match t.flatten_all().unwrap() {
        t if t.dtype() == candle_core::DType::F32 => {
            let values = t.to_vec1::<f32>().unwrap();
            values.iter().flat_map(|v| v.to_le_bytes()).collect()
        }
        t => t
            .to_vec1::<u32>()
            .unwrap()
            .iter()
            .map(|v| *v as u8)
            .collect(),
    };
    let mut all = vec![("state".to_owned(), serde_json::to_vec(&state).unwrap())];
    for (group, tensors) in [
        ("values", values.0),
        ("best", best.0),
        ("optimiser", optimiser),
    ] {
        all.extend(
            tensors
                .iter()
                .map(|(name, t)| (format!("{group}/{name}"), bytes(t))),
        );
    }
    all
}

fn assert_same(found: &[(String, Vec<u8>)], wanted: &[(String, Vec<u8>)]) {
    let names = |all: &[(String, Vec<u8>)]| -> Vec<String> {
        all.iter().map(|(name, _)| name.clone()).collect()
    };
    assert_eq!(names(found), names(wanted));
    for ((name, found), (_, wanted)) in found.iter().zip(wanted) {
        assert!(found == wanted, "{name} has other bits");
    }
}

#[test]
fn one_two_and_three_devices_give_the_same_bits() {
    // The second has batch normalisation, and a head on synthetic defects.
    for bench in [Bench::small(), Bench::new(Preset::Edge, 32)] {
        let one = bench.train(1, bench.start()).unwrap();
        assert!(one.len() > 20);
        for devices in [2, 3] {
            assert_same(&bench.train(devices, bench.start()).unwrap(), &one);
        }
    }
}

#[test]
fn interrupted_and_resumed_on_other_devices_it_ends_with_the_same_bits() {
    let mut bench = Bench::small();
    let undisturbed = bench.train(2, bench.start()).unwrap();
    bench.interrupted = AtomicBool::new(true);
    let mut start = bench.start();
    for devices in [3, 1, 2] {
        let error = bench.train(devices, start).unwrap_err().to_string();
        assert!(error.contains("interrupted at step"), "{error}");
        start = Start::Resumed(Box::new(Checkpoint::load(bench.folder.path()).unwrap()));
    }
    bench.interrupted = AtomicBool::new(false);
    assert_same(&bench.train(3, start).unwrap(), &undisturbed);
}

/// Without batch normalisation the shards' gradients are, but for rounding, those of the batch.
#[test]
fn the_sum_over_shards_is_the_gradient_of_the_batch() {
    let mut bench = Bench::small();
    let devices = [Device::Cpu];
    let reporter = Reporter::new(true);
    let step = TrainingStep {
        number: 1,
        total: STEPS,
    };
    let mut row = |shards| {
        bench.options.shards = shards;
        let training = bench.training(&devices, &reporter);
        let mut replica = replicas(&training, &bench.options).unwrap().remove(0);
        let found = replica.gradients(step).unwrap();
        let row = found.flatten(replica.parameters(), 1.0).unwrap();
        row.to_vec1::<f32>().unwrap()
    };
    let whole = row(1);
    let scale = whole.iter().fold(0.0_f32, |most, v| most.max(v.abs()));
    for shards in [2, 3, 7] {
        let sum = row(shards);
        assert_eq!(sum.len(), whole.len());
        let pairs = sum.iter().zip(&whole);
        let worst = pairs.fold(0.0_f32, |most, (a, b)| most.max((a - b).abs()));
        assert!(worst < 1e-5 * scale, "{shards} shards: {worst} of {scale}");
    }
}

#[test]
fn devices_without_a_shard_and_shards_without_a_frame_are_errors() {
    let mut bench = Bench::small();
    let error = bench.train(4, bench.start()).unwrap_err().to_string();
    assert!(
        error.contains("found 4 devices") && error.contains("has 3"),
        "{error}"
    );
    bench.options.shards = 8;
    let error = bench.train(1, bench.start()).unwrap_err().to_string();
    assert!(
        error.contains("--shards") && error.contains("7 frames"),
        "{error}"
    );
}

/// Sums of a member that fails in its third.
#[derive(Debug)]
struct Failing {
    member: Member<Vec<Tensor>>,
    sums: usize,
    by_panic: bool,
}

impl Collective for Failing {
    fn sum(&mut self, mine: Vec<Tensor>) -> Result<Tensor> {
        self.sums += 1;
        match (self.sums, self.by_panic) {
            (3, false) => Err(anyhow!("broken on purpose")),
            // No hook prints it.
            (3, true) => std::panic::resume_unwind(Box::new("panicked on purpose")),
            _ => self.member.sum(mine),
        }
    }
}

/// The error of a run on three processors of which number `failing`, from 0, fails.
fn error_where_one_fails(failing: usize, by_panic: bool) -> String {
    let bench = Bench::small();
    let devices = vec![Device::Cpu; 3];
    let reporter = Reporter::new(true);
    let training = bench.training(&devices, &reporter);
    let replica = |(rank, member)| {
        let collective: Box<dyn Collective> = match rank == failing {
            true => Box::new(Failing {
                member,
                sums: 0,
                by_panic,
            }),
            false => Box::new(member),
        };
        let own = rank..rank + 1;
        Replica::new(&training, &bench.options, &devices[rank], own, collective).unwrap()
    };
    let replicas = meeting(3).into_iter().enumerate().map(replica).collect();
    let done = together(replicas, |mut team| {
        for number in 0..STEPS {
            let total = STEPS;
            team.step(TrainingStep { number, total })?;
        }
        Ok(())
    });
    format!("{:#}", done.unwrap_err())
}

#[test]
fn an_error_or_a_panic_on_one_device_ends_the_run_with_one_message() {
    for (failing, by_panic, wanted) in [
        (0, false, "broken on purpose"),
        (1, false, "device 2 of 3: broken on purpose"),
        (2, true, "device 3 of 3: it panicked: panicked on purpose"),
    ] {
        // In a thread of its own, so that devices that wait without end are found out.
        let (sender, receiver) = channel();
        thread::spawn(move || sender.send(error_where_one_fails(failing, by_panic)));
        let error = receiver.recv_timeout(Duration::from_secs(300));
        assert_eq!(error.expect("the devices wait for each other"), wanted);
    }
}

#[test]
fn a_loss_that_is_not_finite_is_one_message() {
    let mut bench = Bench::small();
    bench.options.learning_rate = 1e30;
    let error = format!("{:#}", bench.train(3, bench.start()).unwrap_err());
    assert!(
        error.starts_with("step ") && error.contains("not finite"),
        "{error}"
    );
}
