//! A certificate authority of a test: `openssl` makes its certificates.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use crate::program;

const NEW_KEY: &str = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes";

/// What `openssl ca` needs, which is the one that takes dates of the past.
const CONFIGURATION: &str = "[ca]\ndefault_ca = this\n[this]\ndatabase = index\nserial = serial\n\
    new_certs_dir = .\ncertificate = ca.pem\nprivate_key = ca.key\ndefault_md = sha256\n\
    policy = any\nunique_subject = no\n[any]\ncommonName = supplied\n";

/// A certificate and its key.
pub(crate) struct Issued {
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
}

pub(crate) struct Authority {
    folder: tempfile::TempDir,
    openssl: PathBuf,
}

impl Authority {
    /// `None` where there is no `openssl`.
    pub(crate) fn new() -> Option<Self> {
        let authority = Self {
            folder: tempfile::tempdir().unwrap(),
            openssl: program("openssl")?,
        };
        for (name, text) in [("index", ""), ("serial", "01\n"), ("ca.cnf", CONFIGURATION)] {
            fs::write(authority.path(name), text).unwrap();
        }
        authority.run(&format!(
            "req -x509 {NEW_KEY} -keyout ca.key -out ca.pem -days 2 -subj /CN=CA"
        ));
        Some(authority)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Its own certificate.
    pub(crate) fn certificate(&self) -> PathBuf {
        self.path("ca.pem")
    }

    /// A certificate for `localhost` that is valid now.
    pub(crate) fn issue(&self, name: &str) -> Issued {
        self.issue_until(name, "20991231235959Z")
    }

    /// The same with its last second, as `YYYYMMDDHHMMSSZ`.
    pub(crate) fn issue_until(&self, name: &str, end: &str) -> Issued {
        self.run(&format!(
            "req {NEW_KEY} -keyout {name}.key -out {name}.request -subj /CN={name}"
        ));
        let names = "subjectAltName=DNS:localhost\nbasicConstraints=CA:FALSE\n";
        fs::write(self.path("names"), names).unwrap();
        self.run(&format!(
            "ca -batch -notext -config ca.cnf -in {name}.request -out {name}.pem -extfile names \
             -startdate 20200101000000Z -enddate {end}"
        ));
        Issued {
            certificate: self.path(&format!("{name}.pem")),
            key: self.path(&format!("{name}.key")),
        }
    }

    fn run(&self, arguments: &str) {
        let output = Command::new(&self.openssl)
            .args(arguments.split_whitespace())
            .current_dir(self.folder.path())
            .output()
            .unwrap();
        let logged = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "openssl {arguments}: {logged}");
    }
}

/// A path as a configuration has it.
pub(crate) fn quoted(path: &Path) -> String {
    format!("'{}'", path.display())
}
