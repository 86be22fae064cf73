//! Commands on a terminal: lists fit its width, and progress is shown while a cycle runs.

use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};

use graph_sim::Fault;
use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};
use serde_json::Value;

use crate::program::{PROGRAM, add_assigned_user, eventually, users};
use crate::world::World;

/// A terminal, and everything that was written to it.
struct Terminal {
    /// The end of the programs.
    side: OwnedFd,
    text: Arc<Mutex<Vec<u8>>>,
    reader: std::thread::JoinHandle<()>,
}

impl Terminal {
    fn open(columns: u16) -> Self {
        Self::open_with(40, columns)
    }

    fn open_with(rows: u16, columns: u16) -> Self {
        let main = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&main).unwrap();
        unlockpt(&main).unwrap();
        let name = ptsname(&main, Vec::new()).unwrap().into_string().unwrap();
        let side = OwnedFd::from(File::options().read(true).write(true).open(name).unwrap());
        tcsetwinsize(&side, Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 }).unwrap();
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

/// The lines that are longer than the terminal, without the escapes for bold and underlined letters.
fn long_lines(text: &str, width: u16) -> Vec<String> {
    let plain = |line: &str| {
        let mut parts = line.split('\u{1b}');
        let first = parts.next().unwrap_or_default().to_owned();
        parts.fold(first, |plain, part| plain + part.split_once('m').unwrap().1)
    };
    text.lines().map(plain).filter(|line| line.chars().count() > width.into()).collect()
}

/// Twelve held users, a skipped one, and one who is not a learner yet.
async fn world_with_trouble() -> (World, Vec<String>) {
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
    (world, ids)
}

#[tokio::test]
async fn lists_fit_a_terminal_and_break_no_time_or_id() {
    let (world, ids) = world_with_trouble().await;
    let commands: [&[&str]; 12] = [
        &["plan"],
        &["approve"],
        &["mapping", "check"],
        &["log"],
        &["log", "cycles"],
        &["log", "audit"],
        &["log", "show", "15"],
        &["status"],
        &["status", "--all"],
        &["check"],
        &["provision", "--dry-run", &ids[12]],
        &["guide", "operations"],
    ];
    for arguments in commands {
        for width in [80, 100, 119, 120, 160] {
            let text = run_on_terminal(world.program(arguments), width);
            let long = long_lines(&text, width);
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

#[test]
fn help_fits_a_terminal() {
    let mut checked = 0;
    for page in super::man::commands(&[]) {
        let words = page.strip_prefix("learner-sync").unwrap().strip_suffix(".1").unwrap().split('-');
        let mut command = Command::new(PROGRAM);
        command.env_clear().args(words.filter(|word| !word.is_empty())).arg("--help");
        let text = run_on_terminal(command, 80);
        assert!(text.contains("Usage:") && text.contains("\u{1b}["), "{page}: {text}");
        let long = long_lines(&text, 80);
        assert!(long.is_empty(), "{page}: {long:#?}");
        checked += 1;
    }
    assert!(checked > 20, "{checked}");
    // The width of a pipe is not known.
    let mut command = Command::new(PROGRAM);
    command.env_clear().args(["log", "--help"]).stdin(Stdio::null()).stderr(Stdio::null());
    let piped = String::from_utf8(command.output().unwrap().stdout).unwrap();
    assert!(long_lines(&piped, 100).is_empty() && !piped.contains('\u{1b}'), "{piped}");
}

#[tokio::test]
async fn watch_shows_the_time_and_what_fits_the_terminal() {
    let (world, _) = world_with_trouble().await;
    for (rows, is_cut) in [(24, true), (60, false)] {
        let terminal = Terminal::open_with(rows, 80);
        let mut command = world.program(&["status", "--watch"]);
        command.env("TERM", "xterm").stdin(Stdio::null()).stdout(terminal.stdio()).stderr(Stdio::null());
        let mut watch = command.spawn().unwrap();
        drop(command);
        // The second screen says that the first one is complete.
        let screens = || terminal.text().matches("\u{1b}[2J").count();
        eventually("it refreshes", async || (screens() > 1).then_some(())).await;
        kill_process(Pid::from_child(&watch), Signal::TERM).unwrap();
        assert!(watch.wait().unwrap().success());
        let text = terminal.into_text();
        let screen = text.split("\u{1b}[2J").nth(1).unwrap().trim_end_matches("\u{1b}[H");
        assert!(screen.starts_with("As of         20"), "{screen}");
        assert!(screen.ends_with('\n') && screen.lines().count() < rows.into(), "{screen}");
        assert_eq!(screen.contains("more lines; `learner-sync status` shows all\n"), is_cut, "{screen}");
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
