#!/usr/bin/env bash
# Starts systemd of a root folder in namespaces of its own, and a line of edge-vae in it:
# packaging/test/boot.sh ROOT; called by chroot.sh.
set -euo pipefail
# shellcheck source=packaging/setting.sh
source "$(dirname "$0")/../setting.sh"
system=$1
say "systemd: a line that watches a folder"
mkdir -p "$system/var/lib/edge-vae/line1/incoming"
cat >"$system/etc/edge-vae/line1.toml" <<'T'
model = "/usr/share/edge-vae/models/surface"
[control]
path = "/run/edge-vae/line1/control.sock"
[[source]]
uri = "folder:///var/lib/edge-vae/line1/incoming"
name = "line1"
[source.settings]
new = "also"
watch = true
[[log]]
path = "/var/lib/edge-vae/line1/events.jsonl"
frames = true
T
chroot "$system" chown -R edge-vae:edge-vae /var/lib/edge-vae
# What is checked runs as a unit after the start; its exit code is left in a file.
cat >"$system/root/check.sh" <<'T'
#!/bin/bash
set -euxo pipefail
log=/var/lib/edge-vae/line1/events.jsonl
wait_for() { for _ in $(seq 120); do if "$@"; then return; fi; sleep 0.5; done; return 1; }
logged() { [ "$(grep -c '"pred_label"' "$log" 2>/dev/null || true)" -ge "$1" ]; }
systemctl enable edge-vae@line1
systemctl start edge-vae@line1
[ "$(systemctl show -P ActiveState edge-vae@line1)" = active ]
described() { [ "$(systemctl show -P StatusText edge-vae@line1)" ]; }
wait_for described
cp /usr/share/edge-vae/frames/normal-1.png /var/lib/edge-vae/line1/incoming/1.png
wait_for logged 1
# Reload keeps the process, restart does not.
process=$(systemctl show -P MainPID edge-vae@line1)
[ "$(stat -c %U "/proc/$process")" = edge-vae ]
systemctl reload edge-vae@line1
[ "$(systemctl show -P MainPID edge-vae@line1)" = "$process" ]
EDGE_VAE_CONTROL=/run/edge-vae/line1/control.sock edge-vae ctl status
systemctl restart edge-vae@line1
[ "$(systemctl show -P MainPID edge-vae@line1)" != "$process" ]
cp /usr/share/edge-vae/frames/pit.png /var/lib/edge-vae/line1/incoming/2.png
wait_for grep -q 2.png "$log"
# Killed, it comes back.
process=$(systemctl show -P MainPID edge-vae@line1)
kill -KILL "$process"
back() {
    now=$(systemctl show -P MainPID edge-vae@line1)
    [ "$now" != 0 ] && [ "$now" != "$process" ] &&
        [ "$(systemctl show -P ActiveState edge-vae@line1)" = active ]
}
wait_for back
# Hung, the watchdog ends it and it comes back; sooner here than the unit has it.
mkdir -p /etc/systemd/system/edge-vae@line1.service.d
printf '[Service]\nWatchdogSec=3\nTimeoutStopSec=2\n' \
    >/etc/systemd/system/edge-vae@line1.service.d/soon.conf
systemctl daemon-reload
systemctl restart edge-vae@line1
process=$(systemctl show -P MainPID edge-vae@line1)
kill -STOP "$process"
wait_for back
[ "$(systemctl show -P NRestarts edge-vae@line1)" -ge 1 ]
# A line without a configuration says so and does not start.
if systemctl start edge-vae@nothing; then exit 1; fi
systemctl stop edge-vae@line1
systemctl disable edge-vae@line1
T
cat >"$system/etc/systemd/system/check.service" <<'T'
[Unit]
After=basic.target
[Service]
Type=oneshot
ExecStart=/bin/bash /root/check.sh
ExecStopPost=/bin/bash -c 'echo $EXIT_STATUS >/root/checked'
StandardOutput=file:/root/check.log
StandardError=file:/root/check.log
T
mkdir -p "$system/etc/systemd/system/basic.target.wants"
ln -s ../check.service "$system/etc/systemd/system/basic.target.wants/check.service"
# shellcheck disable=SC2016
unshare --fork --pid --mount --uts --ipc --net --cgroup --kill-child bash -c '
    set -e
    system=$1
    mount --make-rprivate /
    mount --rbind "$system" "$system"
    mount -t proc proc "$system/proc"
    mount -t sysfs sysfs "$system/sys"
    mount -t cgroup2 cgroup2 "$system/sys/fs/cgroup"
    mount -t tmpfs tmpfs "$system/run"
    mount -t tmpfs tmpfs "$system/dev"
    for node in null zero full random urandom tty; do
        touch "$system/dev/$node"
        mount --bind "/dev/$node" "$system/dev/$node"
    done
    hostname edge-vae-test
    exec env -i container=chroot PATH=/usr/sbin:/usr/bin:/sbin:/bin \
        chroot "$system" /lib/systemd/systemd --unit=basic.target --log-target=console \
        --show-status=no' bash "$system" >"$work/systemd.log" 2>&1 &
namespace=$!
for _ in $(seq 240); do
    [ ! -e "$system/root/checked" ] || break
    kill -0 "$namespace" 2>/dev/null || break
    sleep 0.5
done
kill -KILL "$namespace" 2>/dev/null || true
wait "$namespace" 2>/dev/null || true
[ -e "$system/root/checked" ] || fail "systemd did not come so far: see $work/systemd.log"
[ "$(cat "$system/root/checked")" = 0 ] || {
    cat "$system/root/check.log" >&2
    fail "the line did not run as it should"
}
grep -h '"pred_label"' "$system/var/lib/edge-vae/line1/events.jsonl" | cut -c1-120
rm -r "$system"/root/{check.sh,check.log,checked} "$system/etc/systemd/system/check.service" \
    "$system/etc/systemd/system/basic.target.wants"
echo "systemd: started, reloaded, restarted, killed and back, hung and back, stopped"
