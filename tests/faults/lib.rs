//! A library that tests preload into the programs. It counts the calls that change a folder, and at
//! one of them fails, writes half, or takes the process's life, with or without what the system had
//! not brought to the disk by then.
//!
//! | variable | |
//! |---|---|
//! | `FAULTS_FOLDER` | the folder; calls elsewhere are left alone |
//! | `FAULTS_LOG` | file that gets a line a call: its name and path |
//! | `FAULTS_AT` | number of the call, from 1 |
//! | `FAULTS_KIND` | what happens there, see [`Kind`] |
//! | `FAULTS_STASH` | for `lost-names`: an empty folder on the same file system, elsewhere |
//! | `FAULTS_WHILE` | for `full` and `read-only`: they last as long as this file exists |

#![cfg(target_os = "linux")]

mod calls;
mod disk;

use std::{
    cell::Cell,
    env,
    ffi::CStr,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
    sync::{LazyLock, Mutex, MutexGuard, PoisonError},
};

use disk::Disk;
use libc::{EIO, ENOSPC, EROFS, c_int};

/// What happens.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    /// Nothing.
    Record,
    /// The call writes half and says so.
    Short,
    /// The call fails.
    Fails(c_int),
    /// The call writes half, and the process dies.
    Torn,
    /// The process dies before the call.
    Before,
    /// The process dies after the call.
    After,
    /// The power goes before the call: of what was written since the last flush, half is lost.
    LostData,
    /// The same, all of that is lost, and names whose folders were not flushed are the old ones.
    LostNames,
    /// Every call fails that needs room.
    Full,
    /// Every call fails.
    ReadOnly,
}

struct Layer {
    folder: PathBuf,
    log: c_int,
    at: u64,
    kind: Kind,
    during: Option<PathBuf>,
    calls: u64,
    disk: Disk,
}

/// What a call is to do.
enum Order {
    Go,
    Half,
    HalfAndDie,
    GoAndDie,
    Fail(c_int),
}

static LAYER: LazyLock<Option<Mutex<Layer>>> =
    LazyLock::new(|| Layer::of_environment().map(Mutex::new));

thread_local! {
    /// Whether this thread's calls are the layer's own.
    static OWN: Cell<bool> = const { Cell::new(false) };
}

/// Runs before `main`: children of the process are left alone.
#[used]
#[unsafe(link_section = ".init_array")]
static BEGIN: extern "C" fn() = {
    extern "C" fn begin() {
        own(|| LazyLock::force(&LAYER));
        // SAFETY: the name ends with NUL, and before `main` there is no other thread that could
        // read the environment.
        unsafe { libc::unsetenv(c"LD_PRELOAD".as_ptr()) };
    }
    begin
};

/// Runs after `main`: the power goes when all is done.
#[used]
#[unsafe(link_section = ".fini_array")]
static END: extern "C" fn() = {
    extern "C" fn end() {
        if let Some(mut layer) = lock()
            && layer.calls < layer.at
        {
            layer.lose();
        }
    }
    end
};

/// Calls of `work` are not counted.
fn own<T>(work: impl FnOnce() -> T) -> T {
    OWN.set(true);
    let made = work();
    OWN.set(false);
    made
}

/// The layer, for a call of the program.
fn lock() -> Option<MutexGuard<'static, Layer>> {
    if OWN.get() {
        return None;
    }
    let layer = LAYER.as_ref()?;
    Some(layer.lock().unwrap_or_else(PoisonError::into_inner))
}

impl Layer {
    fn of_environment() -> Option<Self> {
        let path = |name| env::var_os(name).map(PathBuf::from);
        let kind = match env::var("FAULTS_KIND").as_deref() {
            Ok("short") => Kind::Short,
            Ok("enospc") => Kind::Fails(ENOSPC),
            Ok("eio") => Kind::Fails(EIO),
            Ok("torn") => Kind::Torn,
            Ok("before") => Kind::Before,
            Ok("after") => Kind::After,
            Ok("lost-data") => Kind::LostData,
            Ok("lost-names") => Kind::LostNames,
            Ok("full") => Kind::Full,
            Ok("read-only") => Kind::ReadOnly,
            _ => Kind::Record,
        };
        Some(Self {
            folder: path("FAULTS_FOLDER")?,
            log: path("FAULTS_LOG").map_or(-1, |log| disk::append_to(&log)),
            at: env::var("FAULTS_AT").ok()?.parse().ok()?,
            kind,
            during: path("FAULTS_WHILE"),
            calls: 0,
            disk: Disk::new(path("FAULTS_STASH").filter(|_| kind == Kind::LostNames)),
        })
    }

    fn is_below(&self, path: &Path) -> bool {
        path.starts_with(&self.folder) && !path.as_os_str().as_bytes().ends_with(b" (deleted)")
    }

    /// Counts a call, and says what it is to do.
    fn order(&mut self, call: &str, path: &Path, needs_room: bool) -> Order {
        if let Some(during) = &self.during {
            let lasts = own(|| during.exists());
            return match self.kind {
                Kind::Full if lasts && needs_room => Order::Fail(ENOSPC),
                Kind::ReadOnly if lasts => Order::Fail(EROFS),
                _ => Order::Go,
            };
        }
        self.calls += 1;
        disk::write_line(self.log, &format!("{call} {}\n", path.display()));
        if self.calls != self.at {
            return Order::Go;
        }
        match self.kind {
            Kind::Short => Order::Half,
            Kind::Torn => Order::HalfAndDie,
            Kind::Fails(error) => Order::Fail(error),
            Kind::After => Order::GoAndDie,
            Kind::Before => disk::die(),
            Kind::LostData | Kind::LostNames => {
                self.lose();
                disk::die()
            }
            Kind::Record | Kind::Full | Kind::ReadOnly => Order::Go,
        }
    }

    fn lose(&mut self) {
        own(|| match self.kind {
            Kind::LostData => self.disk.lose_data(false),
            Kind::LostNames => {
                self.disk.lose_data(true);
                self.disk.lose_names();
            }
            _ => {}
        });
    }
}

/// A path of a call, from the root.
///
/// # Safety
/// `path` is a string that ends with NUL.
unsafe fn absolute(folder: c_int, path: *const libc::c_char) -> PathBuf {
    // SAFETY: as the caller says.
    let path = unsafe { CStr::from_ptr(path) };
    let path = Path::new(std::ffi::OsStr::from_bytes(path.to_bytes()));
    let path = path.strip_prefix(".").unwrap_or(path);
    let base = || match folder {
        libc::AT_FDCWD => env::current_dir().unwrap_or_default(),
        folder => disk::path_of(folder),
    };
    match path.is_absolute() {
        true => path.to_owned(),
        false => base().join(path),
    }
}
