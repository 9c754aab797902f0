//! The calls of the C library that are taken over. Each has the signature of its namesake, whose
//! contract its caller keeps, and ends in the system call of that name with the caller's arguments;
//! this is why every `unsafe` here is sound. `open` has no `...`: on the machines that run this, a
//! third argument that was not given is a register with any value, which the kernel reads only for
//! files that are made, and then it was given.

use std::path::PathBuf;

use libc::{c_char, c_int, c_long, c_uint, c_void, iovec, mode_t, off_t, size_t, ssize_t};

use super::{Layer, Order, absolute, disk, lock, own};

fn fail(error: c_int) -> c_long {
    // SAFETY: the pointer is to this thread's errno.
    unsafe { *libc::__errno_location() = error };
    -1
}

/// One call: asks what to do, does it or half of it, and tells what was done.
fn call(
    mut layer: impl std::ops::DerefMut<Target = Layer>,
    (name, path): (&str, &PathBuf),
    needs_room: bool,
    (whole, half): (impl FnOnce() -> c_long, Option<&dyn Fn() -> c_long>),
    done: impl FnOnce(&mut Layer),
) -> c_long {
    let order = layer.order(name, path, needs_room);
    let result = match (&order, half) {
        (Order::Fail(error), _) => return fail(*error),
        (Order::Half | Order::HalfAndDie, Some(half)) => half(),
        _ => whole(),
    };
    if matches!(order, Order::HalfAndDie | Order::GoAndDie) {
        disk::die();
    }
    if result >= 0 {
        // SAFETY: the pointer is to this thread's errno.
        let error = unsafe { *libc::__errno_location() };
        own(|| done(&mut layer));
        fail(error);
    }
    result
}

unsafe fn open_at(folder: c_int, path: *const c_char, flags: c_int, mode: mode_t) -> c_int {
    // SAFETY: see the head of this file.
    let whole = || unsafe { libc::syscall(libc::SYS_openat, folder, path, flags, mode) };
    let changes = flags & (libc::O_CREAT | libc::O_TRUNC) != 0;
    let nameless = flags & libc::O_TMPFILE == libc::O_TMPFILE;
    let Some(layer) = lock().filter(|_| changes || nameless) else {
        return whole() as c_int;
    };
    // SAFETY: see the head of this file.
    let shown = own(|| unsafe { absolute(folder, path) });
    if !layer.is_below(&shown) {
        drop(layer);
        return whole() as c_int;
    }
    let is_new = !own(|| shown.exists());
    call(layer, ("open", &shown), true, (whole, None), |layer| {
        if is_new && !nameless {
            layer.disk.made(shown.clone());
        }
    }) as c_int
}

#[unsafe(no_mangle)]
unsafe extern "C" fn open(path: *const c_char, flags: c_int, mode: mode_t) -> c_int {
    // SAFETY: see the head of this file.
    unsafe { open_at(libc::AT_FDCWD, path, flags, mode) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn open64(path: *const c_char, flags: c_int, mode: mode_t) -> c_int {
    // SAFETY: see the head of this file.
    unsafe { open_at(libc::AT_FDCWD, path, flags, mode) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn openat(dir: c_int, path: *const c_char, flags: c_int, mode: mode_t) -> c_int {
    // SAFETY: see the head of this file.
    unsafe { open_at(dir, path, flags, mode) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn openat64(
    dir: c_int,
    path: *const c_char,
    flags: c_int,
    mode: mode_t,
) -> c_int {
    // SAFETY: see the head of this file.
    unsafe { open_at(dir, path, flags, mode) }
}

/// A call on an open file: `half` does half of a write.
fn on_file(
    fd: c_int,
    name: &str,
    needs_room: bool,
    (whole, half): (impl FnOnce() -> c_long, Option<&dyn Fn() -> c_long>),
    first: impl FnOnce(&mut Layer),
    done: impl FnOnce(&mut Layer),
) -> c_long {
    let Some(mut layer) = lock() else {
        return whole();
    };
    let path = own(|| disk::path_of(fd));
    if !layer.is_below(&path) {
        drop(layer);
        return whole();
    }
    own(|| first(&mut layer));
    call(layer, (name, &path), needs_room, (whole, half), done)
}

fn write_to(
    fd: c_int,
    name: &str,
    (whole, half): (impl FnOnce() -> c_long, Option<&dyn Fn() -> c_long>),
) -> ssize_t {
    let first = |layer: &mut Layer| layer.disk.writes(fd, None);
    on_file(fd, name, true, (whole, half), first, |_| {}) as ssize_t
}

#[unsafe(no_mangle)]
unsafe extern "C" fn write(fd: c_int, bytes: *const c_void, count: size_t) -> ssize_t {
    // SAFETY: see the head of this file; half of the bytes are the caller's too.
    let part = |count: size_t| unsafe { libc::syscall(libc::SYS_write, fd, bytes, count) };
    let half = || part(count.div_ceil(2));
    write_to(fd, "write", (|| part(count), Some(&half)))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn pwrite64(fd: c_int, bytes: *const c_void, n: size_t, at: off_t) -> ssize_t {
    // SAFETY: see the head of this file; half of the bytes are the caller's too.
    let part = |n: size_t| unsafe { libc::syscall(libc::SYS_pwrite64, fd, bytes, n, at) };
    let half = || part(n.div_ceil(2));
    write_to(fd, "pwrite", (|| part(n), Some(&half)))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn writev(fd: c_int, parts: *const iovec, count: c_int) -> ssize_t {
    // SAFETY: see the head of this file; half of the parts are the caller's too.
    let part = |count: c_int| unsafe { libc::syscall(libc::SYS_writev, fd, parts, count) };
    let half = || part((count + 1) / 2);
    write_to(fd, "writev", (|| part(count), Some(&half)))
}

fn flush(fd: c_int, name: &str, number: c_long) -> c_int {
    // SAFETY: see the head of this file.
    let whole = || unsafe { libc::syscall(number, fd) };
    let done = |layer: &mut Layer| layer.disk.flushed(fd);
    on_file(fd, name, true, (whole, None), |_| {}, done) as c_int
}

#[unsafe(no_mangle)]
unsafe extern "C" fn fsync(fd: c_int) -> c_int {
    flush(fd, "fsync", libc::SYS_fsync)
}

#[unsafe(no_mangle)]
unsafe extern "C" fn fdatasync(fd: c_int) -> c_int {
    flush(fd, "fdatasync", libc::SYS_fdatasync)
}

#[unsafe(no_mangle)]
unsafe extern "C" fn ftruncate64(fd: c_int, length: off_t) -> c_int {
    // SAFETY: see the head of this file.
    let whole = || unsafe { libc::syscall(libc::SYS_ftruncate, fd, length) };
    let first = |layer: &mut Layer| layer.disk.writes(fd, Some(length as u64));
    on_file(fd, "ftruncate", false, (whole, None), first, |_| {}) as c_int
}

#[unsafe(no_mangle)]
unsafe extern "C" fn ftruncate(fd: c_int, length: off_t) -> c_int {
    // SAFETY: see the head of this file.
    unsafe { ftruncate64(fd, length) }
}

unsafe fn make(folder: c_int, path: *const c_char, mode: mode_t) -> c_int {
    // SAFETY: see the head of this file.
    let whole = || unsafe { libc::syscall(libc::SYS_mkdirat, folder, path, mode) };
    // SAFETY: see the head of this file.
    let shown = || own(|| unsafe { absolute(folder, path) });
    match lock().map(|layer| (layer, shown())) {
        Some((layer, path)) if layer.is_below(&path) => {
            call(layer, ("mkdir", &path), true, (whole, None), |layer| {
                layer.disk.made(path.clone());
            }) as c_int
        }
        _ => whole() as c_int,
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn mkdir(path: *const c_char, mode: mode_t) -> c_int {
    // SAFETY: see the head of this file.
    unsafe { make(libc::AT_FDCWD, path, mode) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn mkdirat(folder: c_int, path: *const c_char, mode: mode_t) -> c_int {
    // SAFETY: see the head of this file.
    unsafe { make(folder, path, mode) }
}

unsafe fn remove(folder: c_int, path: *const c_char, flags: c_int) -> c_int {
    // SAFETY: see the head of this file.
    let whole = || unsafe { libc::syscall(libc::SYS_unlinkat, folder, path, flags) };
    // SAFETY: see the head of this file.
    let shown = || own(|| unsafe { absolute(folder, path) });
    match lock().map(|layer| (layer, shown())) {
        Some((mut layer, path)) if layer.is_below(&path) => {
            let is_folder = flags & libc::AT_REMOVEDIR != 0;
            let kept = own(|| layer.disk.keep(&path).filter(|_| !is_folder));
            let name = if is_folder { "rmdir" } else { "unlink" };
            call(layer, (name, &path), false, (whole, None), |layer| {
                if is_folder || kept.is_some() {
                    layer.disk.removed(path.clone(), kept);
                }
            }) as c_int
        }
        _ => whole() as c_int,
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn unlink(path: *const c_char) -> c_int {
    // SAFETY: see the head of this file.
    unsafe { remove(libc::AT_FDCWD, path, 0) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn rmdir(path: *const c_char) -> c_int {
    // SAFETY: see the head of this file.
    unsafe { remove(libc::AT_FDCWD, path, libc::AT_REMOVEDIR) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn unlinkat(folder: c_int, path: *const c_char, flags: c_int) -> c_int {
    // SAFETY: see the head of this file.
    unsafe { remove(folder, path, flags) }
}

/// What `rename` is called with: folder and path of old and new name.
type Name = (c_int, *const c_char);

unsafe fn move_to(from: Name, to: Name, flags: c_uint) -> c_int {
    let (old, new) = (from, to);
    // SAFETY: see the head of this file.
    let whole = || unsafe { libc::syscall(libc::SYS_renameat2, old.0, old.1, new.0, new.1, flags) };
    // SAFETY: see the head of this file.
    let shown = |name: Name| own(|| unsafe { absolute(name.0, name.1) });
    match lock().map(|layer| (layer, shown(from), shown(to))) {
        Some((mut layer, from, to)) if layer.is_below(&to) => {
            let replaced = own(|| layer.disk.keep(&to));
            call(layer, ("rename", &to), true, (whole, None), |layer| {
                layer.disk.renamed(from, to.clone(), replaced);
            }) as c_int
        }
        _ => whole() as c_int,
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn rename(from: *const c_char, to: *const c_char) -> c_int {
    let here = libc::AT_FDCWD;
    // SAFETY: see the head of this file.
    unsafe { move_to((here, from), (here, to), 0) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn renameat(
    old: c_int,
    from: *const c_char,
    new: c_int,
    to: *const c_char,
) -> c_int {
    // SAFETY: see the head of this file.
    unsafe { move_to((old, from), (new, to), 0) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn renameat2(
    old: c_int,
    from: *const c_char,
    new: c_int,
    to: *const c_char,
    flags: c_uint,
) -> c_int {
    // SAFETY: see the head of this file.
    unsafe { move_to((old, from), (new, to), flags) }
}
