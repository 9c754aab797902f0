#!/bin/sh
# Installs what lies beside this script: ./install.sh [--prefix DIR] [--uninstall]
# Without --prefix: /usr/local for root, else ~/.local. Needs no network and no package manager.
set -eu

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
if [ "$(id -u)" -eq 0 ]; then prefix=/usr/local; else prefix=$HOME/.local; fi
uninstall=
while [ $# -gt 0 ]; do
    case $1 in
    --prefix)
        [ $# -ge 2 ] || { echo "install.sh: --prefix needs a folder" >&2; exit 2; }
        prefix=$2
        shift
        ;;
    --uninstall) uninstall=yes ;;
    -h | --help)
        sed -n '2,3s/^# //p' "$0"
        exit 0
        ;;
    *)
        echo "install.sh: $1: expected --prefix DIR or --uninstall" >&2
        exit 2
        ;;
    esac
    shift
done

# Every file that belongs to it, one a line.
(cd "$here" && find bin share -type f | sort) | if [ "$uninstall" ]; then
    while IFS= read -r file; do rm -f -- "$prefix/$file"; done
    find "$prefix/share/edge-vae" "$prefix/share/doc/edge-vae" "$prefix/share/doc/edge-vae-train" \
        -depth -type d -empty -delete 2>/dev/null || true
    echo "removed from $prefix"
else
    # A glibc that is too old is told now, not by the loader at the first frame.
    for program in "$here"/bin/*; do
        "$program" --version >/dev/null || {
            echo "install.sh: $program does not run here: $(uname -m)," \
                "$(getconf GNU_LIBC_VERSION 2>/dev/null || echo 'no glibc')" >&2
            exit 2
        }
    done
    while IFS= read -r file; do
        mkdir -p -- "$prefix/$(dirname -- "$file")"
        # A program that runs is replaced, not written into.
        cp -p -- "$here/$file" "$prefix/$file.new"
        mv -f -- "$prefix/$file.new" "$prefix/$file"
    done
    echo "installed in $prefix"
    case :$PATH: in
    *:"$prefix/bin":*) ;;
    *) echo "add it to the path: export PATH=\"$prefix/bin:\$PATH\"" ;;
    esac
fi
