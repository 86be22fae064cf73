//! The status page in a browser: what it shows, and whether a mouse, a keyboard, a phone and a screen reader can use it.
//!
//! Runs only if `LEARNER_SYNC_BROWSER` names a Chromium. The checks are in `.ci/browser` and need Node.js; the screenshots
//! go to `target/browser`.

mod seeded;

use std::path::Path;
use std::process::Command;

use graph_sim::{Fault, Gate};
use rustix::process::Signal;
use serde_json::{Value, json};

use self::seeded::Seeded;
use crate::http::listening;
use crate::program::Daemon;
use crate::world::World;

const TOKEN: &str = "open-sesame";

#[expect(clippy::disallowed_methods, reason = "the browser of a test run is not configuration")]
fn browser() -> Option<String> {
    std::env::var("LEARNER_SYNC_BROWSER").ok().filter(|path| !path.is_empty())
}

/// A daemon with its page, and the browser that looks at it.
struct Looked {
    world: World,
    daemon: Daemon,
    address: String,
    browser: String,
}

impl Looked {
    async fn start(world: World, browser: String) -> Self {
        let file = world.path("http-token");
        std::fs::write(&file, TOKEN).unwrap();
        let http = format!("[http]\nlisten = \"127.0.0.1:0\"\npage = true\ntoken_file = {file:?}\n");
        world.reconfigure(|text| text + &http);
        // Times with an offset are the longest.
        let daemon = world.daemon_with(&[("TZ", "Asia/Kathmandu")]).await;
        daemon.logged("waiting next_cycle.at=", 1).await;
        let address = listening(&daemon, 1).await;
        Self { world, daemon, address, browser }
    }

    /// Lets the browser check pages, and expects no problem.
    fn check(&self, pages: &Value, journeys: &Value) {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let output = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap().join("browser");
        let job = json!({
            "browser": self.browser,
            "origin": format!("http://{}", self.address),
            "token": TOKEN,
            "output": output,
            "downloads": self.world.path("downloads"),
            "pages": pages,
            "journeys": journeys,
        });
        let file = self.world.path("browser.json");
        std::fs::write(&file, job.to_string()).unwrap();
        let status = Command::new("node").arg(root.join(".ci/browser/check.mjs")).arg(&file).status().unwrap();
        assert!(status.success(), "the browser found problems");
    }

    fn check_status(&self, name: &str, texts: &[&str]) {
        self.check(&json!([{ "name": name, "path": "/", "texts": texts }]), &json!(null));
    }
}

#[tokio::test]
async fn every_page_can_be_read_and_operated() {
    let Some(browser) = browser() else { return };
    let seeded = Seeded::start().await;
    let journeys = seeded.journeys().await;
    let Seeded { world, hostile, long, held, name_of_held, failing, skipped } = seeded;
    let looked = Looked::start(world, browser).await;
    let learner =
        |name: &str, id: &str, texts: &[&str]| json!({ "name": name, "path": format!("/users/{id}"), "texts": texts });
    let pages = json!([
        { "name": "status", "path": "/", "texts": ["held", "threshold", "empty-group", "conflict", "missing-required"] },
        { "name": "log", "path": "/log", "texts": ["would deactivate", name_of_held] },
        { "name": "log-filtered", "path": "/log?action=deactivate&since=30d", "texts": ["Until", "would deactivate"] },
        { "name": "log-refused", "path": "/log?user=ada&since=yesterday", "status": 400, "texts": ["not a time"] },
        { "name": "nowhere", "path": "/nowhere", "status": 404, "texts": ["No page has this address"] },
        learner("learner", &held, &[&name_of_held, "threshold", "Held since", "learner-sync approve"]),
        learner("learner-failing", &failing, &["Failing since", "conflict", "learner-sync provision"]),
        learner("learner-skipped", &skipped, &["Skipped since", "missing-required"]),
        learner("learner-hostile", &hostile, &[seeded::SCRIPT]),
        learner("learner-long", &long, &["Captain"]),
        { "name": "mapping", "path": "/mapping", "texts": ["userPrincipalName", "userName"] },
        { "name": "cycles", "path": "/cycles", "texts": ["startup", "success"] },
    ]);
    looked.check(&pages, &journeys);

    // The states that need attention, or end by themselves.
    let assignments = || Fault::on("GET", "/v1.0/servicePrincipals/{id}/appRoleAssignedTo");
    let gate = Gate::new();
    looked.world.sim.inject(assignments().hold_until(&gate));
    looked.daemon.signal(Signal::USR1);
    gate.reached().await;
    looked.check_status("status-running", &["running"]);
    gate.release();
    looked.daemon.logged("waiting next_cycle.at=", 2).await;
    looked.world.sim.inject(assignments().answer(403).always());
    looked.daemon.signal(Signal::USR1);
    looked.daemon.logged("waiting next_cycle.at=", 3).await;
    looked.check_status("status-failing", &["failing", "403"]);
    looked.world.run_program(&["pause"], 0);
    looked.daemon.signal(Signal::USR1);
    looked.daemon.logged("the cycle is skipped", 1).await;
    looked.check_status("status-paused", &["paused"]);
    looked.daemon.stop().await;
}

#[tokio::test]
async fn a_new_installation_has_readable_pages() {
    let Some(browser) = browser() else { return };
    let world = World::start(graph_sim::Tenant::default()).await;
    let looked = Looked::start(world, browser).await;
    let pages = json!([
        { "name": "empty-status", "path": "/", "texts": [] },
        { "name": "empty-log", "path": "/log", "texts": [] },
        { "name": "empty-cycles", "path": "/cycles", "texts": ["startup"] },
    ]);
    looked.check(&pages, &json!(null));
    looked.daemon.stop().await;
}
