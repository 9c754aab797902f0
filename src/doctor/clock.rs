//! Whether the machine knows what time it is.

use super::{Finding, Machine};

pub(super) fn examine(machine: &dyn Machine) -> Finding {
    // systemd-timesyncd leaves it; timedatectl asks the kernel, whoever sets its clock.
    let synchronised = machine.exists("/run/systemd/timesync/synchronized".as_ref())
        || machine
            .output(
                "timedatectl",
                &["show", "--property=NTPSynchronized", "--value"],
            )
            .is_some_and(|said| said.trim() == "yes");
    let has_clock = machine.exists("/sys/class/rtc/rtc0".as_ref());
    if synchronised {
        return Finding::ok("time", "synchronised").with("synchronised", true);
    }
    let without = if has_clock {
        ""
    } else {
        ", and no hardware clock is visible"
    };
    Finding::warning(
        "time",
        format!("not synchronised as far as can be told{without}: times of events may be wrong"),
        "`sudo timedatectl set-ntp true`, or chrony with a server of your network; in a \
         container or virtual machine see to its host",
    )
    .with("synchronised", false)
}
