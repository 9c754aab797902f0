# Sourced by the scripts beside it: folders, versions, and the tools that are installed when needed.
# shellcheck shell=bash disable=SC2034
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$root/target}
# Tools, staged files, chroots: all that is not asked for, and may be removed at any time.
work=$root/target/packaging
# What is given away.
out=$root/target/packages
# `release` builds in a third of the time.
profile=${PROFILE:-dist}
# Of Debian 10 and RHEL 8: below JetPack 5 (2.31), JetPack 6 and Ubuntu 22.04 (2.35), and what a
# manylinux_2_28 wheel may need.
glibc=2.28
programs=(edge-vae edge-vae-train)
version=$(sed -n '/^\[workspace.package\]/,/^\[/ s/^version = "\(.*\)"/\1/p' "$root/Cargo.toml")
# The time of every file in every package: that of the commit.
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git -C "$root" log -1 --format=%ct)}
export SOURCE_DATE_EPOCH

say() { printf '\n== %s\n' "$*"; }
fail() {
    printf 'error: %s\n' "$*" >&2
    exit 1
}

# The target triple of x86_64 or aarch64.
triple() {
    case $1 in
    x86_64 | aarch64) echo "$1-unknown-linux-gnu" ;;
    *) fail "$1: expected x86_64 or aarch64" ;;
    esac
}

# The folder of the programs of an architecture. BUILT names another one, to try the packaging on
# programs that are there.
built() { echo "${BUILT:-$CARGO_TARGET_DIR/$(triple "$1")/$profile}"; }

# Zig links for an old glibc on any machine, and compiles the C of dependencies for another one.
zig_tools() {
    if command -v cargo-zigbuild >/dev/null; then return; fi
    local venv=$work/tools
    [ -x "$venv/bin/pip" ] || python3 -m venv "$venv"
    "$venv/bin/pip" install --quiet --disable-pip-version-check \
        ziglang==0.17.1 cargo-zigbuild==0.24.0
    PATH=$venv/bin:$PATH
}

# Paths of this machine stay out of the programs, and two folders give the same bytes.
clean_paths() {
    local cargo_home=${CARGO_HOME:-$HOME/.cargo}
    local flags="$root=/edge-vae $cargo_home=/cargo"
    RUSTFLAGS=${RUSTFLAGS:-}
    CFLAGS=${CFLAGS:-}
    for prefix in $flags; do
        RUSTFLAGS+=" --remap-path-prefix=$prefix"
        CFLAGS+=" -ffile-prefix-map=$prefix"
    done
    export RUSTFLAGS CFLAGS
    # By its name alone: its path would be in what Cargo calls the crates, and they in the programs.
    PATH=$root/packaging/rustc:$PATH
    export RUSTC_WORKSPACE_WRAPPER=edge-vae-rustc
}

# The newest glibc that a program asks for.
needs_glibc() {
    objdump -T "$1" | grep -oE 'GLIBC_[0-9.]+' | sort -uV | tail -1 | cut -d_ -f2
}
