//! What systemd is told, on a socket as systemd opens it.

use std::os::unix::net::UnixDatagram;

use graph_sim::Fault;
use rustix::process::Signal;

use crate::database::{apply, on_both};
use crate::program::{Daemon, eventually, users};
use crate::world::World;

/// The socket, and everything that came so far.
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

    /// Waits for a message with a line that begins so, after the first `skip` messages. Answers its index.
    async fn told(&mut self, skip: usize, begin: &str) -> usize {
        eventually(&format!("systemd is told {begin}"), async || {
            self.receive();
            let found = |message: &String| message.lines().any(|line| line.starts_with(begin));
            self.messages.iter().skip(skip).position(found).map(|index| skip + index)
        })
        .await
    }
}

async fn daemon(world: &World, more: &[(&str, &str)]) -> (Daemon, Systemd) {
    let systemd = Systemd::listen(world);
    let path = world.path("notify").display().to_string();
    let daemon = world.daemon_with(&[&[("NOTIFY_SOCKET", &*path)], more].concat()).await;
    (daemon, systemd)
}

#[apply(on_both)]
async fn systemd_is_told_of_start_cycles_reload_and_stop() {
    let world = World::start(users(2).0).await;
    let (daemon, mut systemd) = daemon(&world, &[]).await;
    let ready = systemd.told(0, "READY=1").await;
    let status = systemd.told(ready, "STATUS=last cycle at ").await;
    assert!(systemd.messages[status].contains("2 created"), "{}", systemd.messages[status]);
    let next = systemd.told(status + 1, "STATUS=last cycle at ").await;
    assert!(systemd.messages[next].contains("; next cycle at 20"), "{}", systemd.messages[next]);
    assert!(systemd.messages.iter().any(|message| message.contains("STATUS=a cycle is running")));

    daemon.signal(Signal::HUP);
    let reloading = systemd.told(status, "RELOADING=1").await;
    let message = systemd.messages[reloading].clone();
    let monotonic = message.lines().find_map(|line| line.strip_prefix("MONOTONIC_USEC=")).unwrap();
    assert!(monotonic.parse::<u64>().unwrap() > 0, "{message}");
    let again = systemd.told(reloading + 1, "READY=1").await;

    // A bad configuration ends the reload as well: systemctl reload must not hang.
    std::fs::write(world.config_path(), "nonsense").unwrap();
    daemon.signal(Signal::HUP);
    let reloading = systemd.told(again + 1, "RELOADING=1").await;
    systemd.told(reloading + 1, "READY=1").await;

    daemon.stop().await;
    systemd.told(reloading, "STOPPING=1").await;
    assert!(!systemd.messages.iter().any(|message| message.contains("WATCHDOG=1")), "{:?}", systemd.messages);
}

#[apply(on_both)]
async fn the_status_line_says_since_when_cycles_fail() {
    let world = World::start(users(1).0).await;
    world.sim.inject(Fault::on("GET", "/v1.0/servicePrincipals/{id}/appRoleAssignedTo").answer(403));
    let (daemon, mut systemd) = daemon(&world, &[]).await;
    let failing = systemd.told(0, "STATUS=failing since ").await;
    daemon.signal(Signal::USR1);
    systemd.told(failing + 1, "STATUS=last cycle at ").await;
    daemon.stop().await;
}

#[apply(on_both)]
async fn the_watchdog_is_fed_while_the_loop_turns_even_during_a_cycle() {
    let world = World::start(users(1).0).await;
    let gate = super::hold_next_cycle(&world);
    let systemd = Systemd::listen(&world);
    let path = world.path("notify").display().to_string();
    let environment = [("NOTIFY_SOCKET", &*path), ("WATCHDOG_USEC", "200000")];
    let daemon = world.daemon_with(&environment).await;
    let mut systemd = systemd;
    gate.reached().await;
    let first = systemd.told(0, "WATCHDOG=1").await;
    let second = systemd.told(first + 1, "WATCHDOG=1").await;
    systemd.told(second + 1, "WATCHDOG=1").await;
    gate.release();
    world.cycles_ended(1).await;
    daemon.stop().await;
}
