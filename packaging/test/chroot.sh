#!/usr/bin/env bash
# The Debian packages in a bare system: packaging/test/chroot.sh bookworm|jammy [--boot]
# Install, judge, upgrade over a changed configuration, remove, purge. With --boot systemd is started
# there, as process 1 of namespaces of its own, and a line is watched. Needs root and debootstrap;
# nothing outside target/packaging is changed.
set -euo pipefail
# shellcheck source=packaging/setting.sh
source "$(dirname "$0")/../setting.sh"
suite=${1:?bookworm or jammy}
boot=${2:-}
case $suite in
jammy)
    mirror=http://archive.ubuntu.com/ubuntu
    # Debian's package ubuntu-keyring, of trixie or newer.
    keyring=${UBUNTU_KEYRING:-/usr/share/keyrings/ubuntu-archive-keyring.gpg}
    ;;
*)
    mirror=http://deb.debian.org/debian
    keyring=/usr/share/keyrings/debian-archive-keyring.gpg
    ;;
esac
case $(uname -m) in x86_64) architecture=amd64 ;; *) architecture=arm64 ;; esac
template=$work/chroot/$suite
[ -e "$template.done" ] || {
    say "a bare $suite, once"
    rm -rf "$template"
    mkdir -p "$work/chroot"
    debootstrap --variant=minbase --keyring="$keyring" --include=adduser,systemd,systemd-sysv,udev \
        "$suite" "$template" "$mirror" >"$template.log" || fail "see $template.log"
    touch "$template.done"
}
system=$work/chroot/$suite-test
# As on a machine: cp before mount, umount before rm.
clean() {
    [ -z "${init:-}" ] || kill -KILL "$init" 2>/dev/null || true
    umount "$system/proc" 2>/dev/null || true
    rm -rf --one-file-system "$system"
}
clean
trap clean EXIT
cp -a "$template" "$system"
mount -t proc proc "$system/proc"
in_system() { chroot "$system" env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root "$@"; }
as_user() {
    chroot --userspec=edge-vae:edge-vae "$system" env -i PATH=/usr/bin:/bin HOME=/nonexistent "$@"
}
files() {
    (cd "$system" && find . -xdev ! -path './proc/*' ! -path './run/*' ! -path './var/lib/dpkg/*' \
        ! -path './var/log/*' ! -path './var/cache/*' ! -name '*-' | sort)
}
package=$(echo "$out"/edge-vae_*_"$architecture".deb)
trainer=$(echo "$out"/edge-vae-train_*_"$architecture".deb)
if ! [ -f "$package" ] || ! [ -f "$trainer" ]; then fail "no packages in $out: run packaging/deb.sh"; fi
cp "$package" "$trainer" "$system/root/"
files >"$work/before"

say "$suite: install"
in_system getconf GNU_LIBC_VERSION
in_system dpkg -i "/root/${package##*/}" "/root/${trainer##*/}"
in_system dpkg -V edge-vae edge-vae-train
in_system edge-vae --version
in_system edge-vae-train --version
for group in video render gpio; do in_system getent group "$group" >/dev/null; done
[ "$(in_system stat -c %U:%G:%a /var/lib/edge-vae)" = edge-vae:edge-vae:750 ]

say "$suite: judge, as the user of the service"
as_user bash -c 'cd /; edge-vae score --quiet /usr/share/edge-vae/frames/*.png' | tee "$work/seen"
[ "$(grep -c anomalous "$work/seen")" -eq 5 ] || fail "the shipped frames are judged otherwise"
in_system edge-vae watch --config /etc/edge-vae/demo.toml --check >/dev/null
as_user edge-vae-train synth --out /tmp/drawn --train 2 --test-good 1 --per-kind 1 --quiet
rm -rf "$system/tmp/drawn"
for unit in demo line1; do
    in_system systemd-analyze verify --man=no "/usr/lib/systemd/system/edge-vae@$unit.service"
done
if in_system systemd-analyze --help | grep -q -- --offline; then
    # Tenths: 25 is an exposure of 2.5.
    in_system systemd-analyze security --offline=true --threshold=25 --no-pager \
        /usr/lib/systemd/system/edge-vae@.service | tail -1
fi

if [ "$boot" = --boot ]; then
    "$root/packaging/test/boot.sh" "$system"
fi

say "$suite: upgrade over a changed configuration"
echo '# mine' >>"$system/etc/edge-vae/demo.toml"
cp "$system/etc/edge-vae/demo.toml" "$system/etc/edge-vae/line1.toml"
next=$work/next
rm -rf "$next"
dpkg-deb -R "$package" "$next"
sed -i 's/^Version: .*/&+next/' "$next/DEBIAN/control"
for file in demo.toml environment; do echo '# new' >>"$next/etc/edge-vae/$file"; done
dpkg-deb --root-owner-group -Znone -b "$next" "$system/root/next.deb" >/dev/null
in_system dpkg --force-confdef --force-confold -i /root/next.deb
in_system dpkg-query -W edge-vae | grep -q '+next$'
[ "$(tail -1 "$system/etc/edge-vae/demo.toml")" = '# mine' ] || fail "a changed file was replaced"
[ "$(tail -1 "$system/etc/edge-vae/demo.toml.dpkg-dist")" = '# new' ]
[ "$(tail -1 "$system/etc/edge-vae/environment")" = '# new' ] || fail "an unchanged file stayed"

say "$suite: remove, purge"
in_system dpkg -r edge-vae edge-vae-train
[ ! -e "$system/usr/bin/edge-vae" ] && [ -e "$system/etc/edge-vae/line1.toml" ]
in_system dpkg -P edge-vae edge-vae-train
rm "$system"/root/*.deb
if in_system getent passwd edge-vae; then fail "the user is left"; fi
files >"$work/after"
left=$(comm -13 "$work/before" "$work/after")
# A systemd that ran left files of its own.
[ -z "$boot" ] || left=$(grep edge-vae <<<"$left" || true)
[ -z "$left" ] || fail "left after purge: $left"
say "$suite: passed"
