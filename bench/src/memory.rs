//! Resident memory of what waits: a monitor, and a `wrap` with an idle session.

use std::path::Path;
use std::time::Duration;

use serde_json::json;

use crate::echo::SERVER;
use crate::failure::Failure;
use crate::load::Client;
use crate::machine::{processes, resident_mib};
use crate::out::Out;
use crate::stdio::{end_of_monitor, make_home};

pub(crate) fn run(own: &Path, tipstaff: &Path, scratch: &Path, out: &Out) -> Result<(), Failure> {
    let folder = tempfile::tempdir_in(scratch)?;
    let home = folder.path().join("home");
    make_home(tipstaff, &home)?;
    let text = |path: &Path| path.to_string_lossy().into_owned();
    let command = [
        text(tipstaff),
        "wrap".to_owned(),
        "--home".to_owned(),
        text(&home),
        "--name".to_owned(),
        SERVER.to_owned(),
        "--".to_owned(),
        text(own),
        "echo".to_owned(),
    ];
    let mut client = Client::start(&command)?;
    // Idle, but after having worked: what a client leaves open over lunch.
    client.load(1, Duration::from_millis(200))?;
    std::thread::sleep(Duration::from_secs(2));
    let wrap = client.pid();
    let monitor = processes(folder.path()).into_iter().find(|pid| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&line).split('\0').any(|word| word == "monitor")
    });
    let monitor = monitor.ok_or_else(|| Failure::wrong("no monitor runs"))?;
    let gone = || Failure::wrong("a process is gone");
    let wrap_mib = resident_mib(wrap).ok_or_else(gone)?;
    let monitor_mib = resident_mib(monitor).ok_or_else(gone)?;
    client.end()?;
    end_of_monitor(folder.path())?;
    println!("idle, resident: monitor {monitor_mib:.1} MiB, wrap {wrap_mib:.1} MiB");
    out.write("memory", &json!({ "monitor_mib": monitor_mib, "wrap_mib": wrap_mib }))
}
