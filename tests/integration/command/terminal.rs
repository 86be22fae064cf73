//! Commands on a terminal: lists fit its width, and progress is shown while a cycle runs.

use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};

use graph_sim::Fault;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};
use serde_json::Value;

use crate::program::{add_assigned_user, users};
use crate::world::World;

/// A terminal, and everything that was written to it.
struct Terminal {
    /// The end of the programs.
    side: OwnedFd,
    text: Arc<Mutex<Vec<u8>>>,
    reader: std::thread::JoinHandle<()>,
}

impl Terminal {
    fn open(width: u16) -> Self {
        let main = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&main).unwrap();
        unlockpt(&main).unwrap();
        let name = ptsname(&main, Vec::new()).unwrap().into_string().unwrap();
        let side = OwnedFd::from(File::options().read(true).write(true).open(name).unwrap());
        tcsetwinsize(&side, Winsize { ws_row: 40, ws_col: width, ws_xpixel: 0, ws_ypixel: 0 }).unwrap();
        let text = Arc::new(Mutex::new(Vec::new()));
        let (mut screen, written) = (File::from(main), Arc::clone(&text));
        let reader = std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            // The read fails when the last program has closed the terminal.
            while let Ok(count @ 1..) = screen.read(&mut bytes) {
                written.lock().unwrap().extend_from_slice(&bytes[..count]);
            }
        });
        Self { side, text, reader }
    }

    fn stdio(&self) -> Stdio {
        self.side.try_clone().unwrap().into()
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.text.lock().unwrap()).into_owned()
    }

    /// The whole text, once the programs have ended.
    fn into_text(self) -> String {
        let Self { side, text, reader } = self;
        drop(side);
        reader.join().unwrap();
        let text = text.lock().unwrap();
        String::from_utf8_lossy(&text).replace("\r\n", "\n")
    }
}

/// The output of a command on a terminal of `width` columns.
fn run_on_terminal(mut command: Command, width: u16) -> String {
    let terminal = Terminal::open(width);
    command.env("TERM", "xterm").stdin(Stdio::null()).stdout(terminal.stdio()).stderr(Stdio::null());
    // `approve` refuses to ask without standard input.
    assert!(matches!(command.status().unwrap().code(), Some(0 | 2)));
    // It holds the terminal as well.
    drop(command);
    terminal.into_text()
}

#[tokio::test]
async fn lists_fit_a_terminal_and_break_no_time_or_id() {
    let (tenant, ids) = users(14);
    let world = World::start(tenant).await;
    world.run_program(&["sync"], 0);
    world.sim.tenant(|tenant| {
        ids[..12].iter().for_each(|id| tenant.unassign(id));
        tenant.user_mut(&ids[12]).department = Some("A department with a name of many words".to_owned());
        tenant.user_mut(&ids[13]).mail = None;
        add_assigned_user(tenant, "Grace", "Hopper");
    });
    world.run_program(&["sync"], 3);
    world.sim.tenant(|tenant| drop(add_assigned_user(tenant, "Mary", "Somerville")));
    let commands: [&[&str]; 7] =
        [&["plan"], &["approve"], &["mapping", "check"], &["log"], &["log", "cycles"], &["log", "audit"], &["status"]];
    for arguments in commands {
        for width in [80, 100, 119, 120, 160] {
            let text = run_on_terminal(world.program(arguments), width);
            let long: Vec<&str> = text.lines().filter(|line| line.chars().count() > width.into()).collect();
            assert!(long.is_empty(), "{arguments:?} at {width}: {long:#?}\n{text}");
            let names = ["ada.number0@harbourworks.example", "mary.somerville@harbourworks.example"];
            let expected = match arguments {
                ["plan"] => &names[..],
                ["approve" | "log"] => &names[..1],
                ["mapping", "check"] => &["urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:employeeNumber"],
                _ => &[],
            };
            for whole in expected {
                assert!(text.contains(whole), "{whole}, {arguments:?} at {width}:\n{text}");
            }
        }
        // A file or pipe gets whole lines.
        let piped = world.program(arguments).output().unwrap();
        assert!(!String::from_utf8_lossy(&piped.stdout).contains('\r'));
    }
}

#[tokio::test]
async fn progress_is_shown_on_the_terminal_of_the_errors_alone() {
    let world = World::start(users(3).0).await;
    for arguments in [&["plan", "--json"][..], &["sync", "--dry-run", "--json"], &["sync", "--json"]] {
        let terminal = Terminal::open(100);
        let assignments = Fault::on("GET", "/v1.0/servicePrincipals/{id}/appRoleAssignedTo");
        world.sim.inject(assignments.answer(429).retry_after("1"));
        let mut command = world.program(arguments);
        command.env("TERM", "xterm").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(terminal.stdio());
        let child = command.spawn().unwrap();
        drop(command);
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{arguments:?}: {}", terminal.text());
        let document: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(document["created"], 3);
        let text = terminal.into_text();
        for words in ["reading users, throttled by Graph until 20", "retrying"] {
            assert!(text.contains(words), "{words}: {text}");
        }
    }
}

#[tokio::test]
async fn a_program_that_reads_the_output_gets_no_progress() {
    let world = World::start(users(3).0).await;
    let ran = world.run_program(&["plan", "--json"], 0);
    assert!(!ran.stderr.contains("reading users"), "{ran:?}");
}
