//! Notifications to systemd, received on a socket like systemd's.

use std::os::unix::net::UnixDatagram;

use graph_sim::Fault;
use rustix::process::Signal;

use crate::database::{apply, on_both};
use crate::program::{Daemon, eventually, users};
use crate::world::World;

/// The socket, and all messages so far.
struct Systemd {
    socket: UnixDatagram,
    messages: Vec<String>,
}

impl Systemd {
    fn listen(world: &World) -> Self {
        let socket = UnixDatagram::bind(world.path("notify")).unwrap();
        socket.set_nonblocking(true).unwrap();
        Self { socket, messages: Vec::new() }
    }

    fn receive(&mut self) {
        let mut buffer = [0; 4096];
        while let Ok(length) = self.socket.recv(&mut buffer) {
            self.messages.push(String::from_utf8(buffer[..length].to_vec()).unwrap());
        }
    }

    /// Waits for a message with a line that starts with `start`, after the first `skip` messages. Returns its index.
    async fn notified(&mut self, skip: usize, start: &str) -> usize {
        eventually(&format!("systemd is notified: {start}"), async || {
            self.receive();
            let found = |message: &String| message.lines().any(|line| line.starts_with(start));
            self.messages.iter().skip(skip).position(found).map(|index| skip + index)
        })
        .await
    }
}

async fn daemon_with_socket(world: &World, more: &[(&str, &str)]) -> (Daemon, Systemd) {
    let systemd = Systemd::listen(world);
    let path = world.path("notify").display().to_string();
    let daemon = world.daemon_with(&[&[("NOTIFY_SOCKET", &*path)], more].concat()).await;
    (daemon, systemd)
}

#[apply(on_both)]
async fn systemd_is_notified_of_start_cycles_reload_and_stop() {
    let world = World::start(users(2).0).await;
    let (daemon, mut systemd) = daemon_with_socket(&world, &[]).await;
    let ready = systemd.notified(0, "READY=1").await;
    let status = systemd.notified(ready, "STATUS=ok since ").await;
    assert!(systemd.messages[status].contains("2 created"), "{}", systemd.messages[status]);
    let next = systemd.notified(status + 1, "STATUS=ok since ").await;
    assert!(systemd.messages[next].contains("; next cycle at 20"), "{}", systemd.messages[next]);
    assert!(systemd.messages[..ready].iter().any(|message| message.contains("STATUS=never-run")));
    assert!(systemd.messages.iter().any(|message| message.contains("STATUS=running: a cycle is running")));

    daemon.signal(Signal::HUP);
    let reloading = systemd.notified(status, "RELOADING=1").await;
    let message = systemd.messages[reloading].clone();
    let monotonic = message.lines().find_map(|line| line.strip_prefix("MONOTONIC_USEC=")).unwrap();
    assert!(monotonic.parse::<u64>().unwrap() > 0, "{message}");
    let again = systemd.notified(reloading + 1, "READY=1").await;

    // An invalid configuration ends the reload too, so that `systemctl reload` does not hang.
    std::fs::write(world.config_path(), "nonsense").unwrap();
    daemon.signal(Signal::HUP);
    let reloading = systemd.notified(again + 1, "RELOADING=1").await;
    systemd.notified(reloading + 1, "READY=1").await;

    daemon.stop().await;
    systemd.notified(reloading, "STOPPING=1").await;
    assert!(!systemd.messages.iter().any(|message| message.contains("WATCHDOG=1")), "{:?}", systemd.messages);
}

#[apply(on_both)]
async fn the_status_line_shows_since_when_cycles_fail() {
    let world = World::start(users(1).0).await;
    world.sim.inject(Fault::on("GET", "/v1.0/servicePrincipals/{id}/appRoleAssignedTo").answer(403));
    let (daemon, mut systemd) = daemon_with_socket(&world, &[]).await;
    let failing = systemd.notified(0, "STATUS=failing since ").await;
    daemon.signal(Signal::USR1);
    systemd.notified(failing + 1, "STATUS=ok since ").await;
    daemon.stop().await;
}

#[apply(on_both)]
async fn the_watchdog_is_notified_even_during_a_cycle() {
    let world = World::start(users(1).0).await;
    let gate = super::hold_next_cycle(&world);
    let (daemon, mut systemd) = daemon_with_socket(&world, &[("WATCHDOG_USEC", "200000")]).await;
    gate.reached().await;
    let first = systemd.notified(0, "WATCHDOG=1").await;
    let second = systemd.notified(first + 1, "WATCHDOG=1").await;
    systemd.notified(second + 1, "WATCHDOG=1").await;
    gate.release();
    world.cycles_ended(1).await;
    daemon.stop().await;
}

#[apply(on_both)]
async fn a_stop_does_not_wait_for_a_reload() {
    let world = World::start(users(1).0).await;
    let (mut daemon, mut systemd) = daemon_with_socket(&world, &[]).await;
    daemon.logged("waiting next_cycle.at=", 1).await;
    let alone = world.database.shut().await;
    daemon.signal(Signal::HUP);
    let reloading = systemd.notified(0, "RELOADING=1").await;
    // Merged into one that follows.
    daemon.signal(Signal::HUP);
    daemon.signal(Signal::TERM);
    systemd.notified(reloading, "STOPPING=1").await;
    assert_eq!(daemon.ended().await, Some(0));
    drop(alone);
    let log = daemon.log();
    assert!(!log.contains("against the learner database") && !log.contains("reloaded"), "{log}");
}
