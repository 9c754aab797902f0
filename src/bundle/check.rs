//! What a manifest may say.

use std::path::Path;

use super::{
    BundleError, MANIFEST, Manifest, SCHEMA_VERSION,
    manifest::{CALIBRATION, MAX_TOTAL_BYTES, SEALED, SIGNATURE},
};
use crate::{
    preprocess::MAX_SIDE,
    vae::{Latent, Likelihood, VaeSpec},
};

/// More files than any bundle needs.
const MAX_FILES: usize = 256;

/// Most elements of a tensor or of a latent: 256 MiB of f32.
const MAX_ELEMENTS: usize = 1 << 26;

/// A key whose value is impossible, and why.
struct Fault {
    key: String,
    problem: String,
}

impl Fault {
    fn new(key: impl Into<String>, problem: impl Into<String>) -> Self {
        Self {
            key: key.into(),
            problem: problem.into(),
        }
    }
}

impl Manifest {
    /// Checks every value, and the values against each other; `path` names the manifest in errors.
    ///
    /// # Errors
    /// The first value that is impossible, by its key.
    pub fn check(&self, path: &Path) -> Result<(), BundleError> {
        self.find_fault()
            .map_err(|Fault { key, problem }| BundleError::Setting {
                path: path.to_owned(),
                key,
                problem,
            })
    }

    /// The first value that is impossible.
    fn find_fault(&self) -> Result<(), Fault> {
        if self.schema_version != SCHEMA_VERSION {
            return Err(Fault::new(
                "schema_version",
                format!("is {}, must be {SCHEMA_VERSION}", self.schema_version),
            ));
        }
        check_model_id(&self.model_id)?;
        self.check_files()?;
        check_tensor("preprocess", &self.preprocess.shape())?;
        if let Some(vae) = &self.vae {
            check_tensor("vae", &vae.input_shape())?;
            self.check_vae(vae)?;
        } else if self.scoring.is_none() {
            return Err(Fault::new(
                "vae",
                "is missing, and so is [scoring]: a model needs one of them",
            ));
        }
        self.preprocess
            .validate()
            .map_err(|error| Fault::new("preprocess", error.to_string()))?;
        if let Some(mask) = &self.preprocess.mask {
            self.require("preprocess.mask", mask)?;
        }
        for name in self.graph_files() {
            self.require("graphs", name)?;
        }
        if let Some(defects) = &self.synthetic_defects {
            self.require("synthetic-defects", defects)?;
        }
        self.check_scoring()?;
        self.check_golden()?;
        if let Some(adaptation) = &self.adaptation
            && !(adaptation.weight.is_finite() && adaptation.weight > 0.0)
        {
            return Err(Fault::new(
                "adaptation.weight",
                format!("is {}, must be above 0", adaptation.weight),
            ));
        }
        self.check_card()
    }

    fn check_files(&self) -> Result<(), Fault> {
        if self.files.len() > MAX_FILES {
            return Err(Fault::new(
                "files",
                format!(
                    "lists {} files, at most {MAX_FILES} are read",
                    self.files.len()
                ),
            ));
        }
        let mut total = 0_u64;
        for (name, entry) in &self.files {
            let key = || format!("files.{:?}", shortened(name));
            if !is_plain_name(name) {
                return Err(Fault::new(
                    key(),
                    "is not a plain file name (letters, digits, `.`, `_`, `-`; at most 100; no \
                     leading dot)",
                ));
            }
            if name.eq_ignore_ascii_case(MANIFEST) {
                return Err(Fault::new(key(), "the manifest can't list itself"));
            }
            if [SIGNATURE, SEALED, CALIBRATION].contains(&name.to_ascii_lowercase().as_str()) {
                return Err(Fault::new(key(), "is kept for something else"));
            }
            let hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
            if entry.sha256.len() != 64 || !entry.sha256.bytes().all(hex) {
                return Err(Fault::new(
                    format!("{}.sha256", key()),
                    "must be 64 lower-case hexadecimal digits",
                ));
            }
            total = total.saturating_add(entry.bytes);
        }
        if total > MAX_TOTAL_BYTES {
            return Err(Fault::new(
                "files",
                format!("have {total} bytes together, at most {MAX_TOTAL_BYTES} are read"),
            ));
        }
        Ok(())
    }

    /// A file that `key` names must be listed.
    fn require(&self, key: &str, name: &str) -> Result<(), Fault> {
        if self.files.contains_key(name) {
            Ok(())
        } else {
            Err(Fault::new(
                key,
                format!("`{}` is not listed under [files]", shortened(name)),
            ))
        }
    }

    fn check_vae(&self, vae: &VaeSpec) -> Result<(), Fault> {
        let (input, tensor) = (vae.input_shape(), self.preprocess.shape());
        if input != tensor {
            return Err(Fault::new(
                "vae",
                format!("its input is {input:?} (C×H×W), but preprocessing gives {tensor:?}"),
            ));
        }
        let (shape, rank) = match vae.latent {
            Latent::Vector { length } => ([length, 1, 1], 1),
            Latent::Map {
                channels,
                height,
                width,
            } => ([channels, height, width], 3),
        };
        let elements = shape
            .iter()
            .try_fold(1_usize, |product, &side| product.checked_mul(side));
        if !elements.is_some_and(|count| (1..=MAX_ELEMENTS).contains(&count)) {
            return Err(Fault::new(
                "vae.latent",
                format!(
                    "is {:?}, must have between 1 and {MAX_ELEMENTS} elements",
                    &shape[..rank]
                ),
            ));
        }
        if let Likelihood::Gaussian { sigma } = vae.likelihood
            && !(sigma.is_finite() && sigma > 0.0)
        {
            return Err(Fault::new(
                "vae.likelihood.sigma",
                format!("is {sigma}, must be positive and finite"),
            ));
        }
        Ok(())
    }

    fn check_scoring(&self) -> Result<(), Fault> {
        let Some(scoring) = &self.scoring else {
            return Ok(());
        };
        for name in scoring.files() {
            self.require("scoring", name)?;
        }
        let [_, height, width] = self.preprocess.shape();
        scoring
            .validate([height, width], self.vae.as_ref())
            .map_err(|error| Fault::new("scoring", error.to_string()))
    }

    fn check_golden(&self) -> Result<(), Fault> {
        self.require("golden.frame", &self.golden.frame)?;
        self.require("golden.expected", &self.golden.expected)?;
        for (key, tolerance) in [
            ("golden.tolerance", self.golden.tolerance),
            ("golden.map-tolerance", self.golden.map_tolerance),
        ] {
            // A tolerance of 1 or more would prove nothing about values of order 1.
            if !(tolerance > 0.0 && tolerance < 1.0) {
                return Err(Fault::new(
                    key,
                    format!("is {tolerance}, must be above 0 and below 1"),
                ));
            }
        }
        match (&self.scoring, self.golden.score) {
            (Some(_), None) => Err(Fault::new(
                "golden.score",
                "is missing, but the bundle has a [scoring]",
            )),
            (None, Some(_)) => Err(Fault::new(
                "golden.score",
                "is given, but the bundle has no [scoring]",
            )),
            (_, Some(score)) if !score.is_finite() => Err(Fault::new(
                "golden.score",
                format!("is {score}, must be finite"),
            )),
            _ => Ok(()),
        }
    }

    fn check_card(&self) -> Result<(), Fault> {
        if !(self.card.seconds.is_finite() && self.card.seconds >= 0.0) {
            return Err(Fault::new(
                "card.seconds",
                format!("is {}, must be 0 or more", self.card.seconds),
            ));
        }
        match self.card.figures.iter().find(|(_, v)| !v.is_finite()) {
            Some((name, value)) => Err(Fault::new(
                format!("card.figures.{:?}", shortened(name)),
                format!("is {value}, must be finite"),
            )),
            None => Ok(()),
        }
    }
}

/// Whether the name stays inside a folder on every system.
fn is_plain_name(name: &str) -> bool {
    (1..=100).contains(&name.len())
        && !name.starts_with('.')
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
}

/// Whether a model may be called so: what [`Manifest::model_id`] has before its last hyphen.
pub(super) fn is_model_name(name: &str) -> bool {
    is_plain_name(name) && name.len() <= 64
}

fn check_model_id(id: &str) -> Result<(), Fault> {
    let hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    match id.rsplit_once('-') {
        Some((name, digits))
            if is_model_name(name) && digits.len() == 8 && digits.bytes().all(hex) =>
        {
            Ok(())
        }
        _ => Err(Fault::new(
            "model_id",
            format!(
                "is `{}`, must be a name (letters, digits, `.`, `_`, `-`; at most 64), a hyphen \
                 and 8 hexadecimal digits",
                shortened(id)
            ),
        )),
    }
}

fn check_tensor(key: &str, &[channels, height, width]: &[usize; 3]) -> Result<(), Fault> {
    if ![1, 3].contains(&channels) {
        return Err(Fault::new(
            format!("{key}.channels"),
            format!("is {channels}, must be 1 or 3"),
        ));
    }
    for (name, side) in [("height", height), ("width", width)] {
        if !(1..=MAX_SIDE).contains(&side) {
            return Err(Fault::new(
                format!("{key}.{name}"),
                format!("is {side}, must be between 1 and {MAX_SIDE}"),
            ));
        }
    }
    if channels * height * width > MAX_ELEMENTS {
        return Err(Fault::new(
            key,
            format!(
                "a tensor of {channels}×{height}×{width} has more than {MAX_ELEMENTS} elements"
            ),
        ));
    }
    Ok(())
}

/// A text from outside, short and free of control characters, so that an error stays one line.
fn shortened(text: &str) -> String {
    let mut short: String = text
        .chars()
        .take(60)
        .map(|c| if c.is_control() { '?' } else { c })
        .collect();
    if short.len() < text.len() {
        short.push('…');
    }
    short
}
