//! Each log row names the answer of Graph that decided.

use graph_sim::Tenant;
use jiff::SignedDuration;
use learner_sync::plan::Counts;

use crate::database::{apply, on_both};
use crate::directory::calls;
use crate::holds::{assign, staff, unassign};
use crate::world::{World, assigned, assigned_group};

/// The id of the answer behind the last log row of a user.
async fn last_request_id(world: &World, user: &str) -> String {
    world
        .value(&format!("SELECT request_id FROM provisioning_log WHERE entra_id = '{user}' ORDER BY id DESC LIMIT 1"))
        .await
}

/// The ids of all answers to calls whose path ends so, since the journal was cleared.
fn answers(world: &World, path: &str) -> Vec<String> {
    calls(&world.sim.journal(), path).into_iter().map(|call| call.request_id.clone()).collect()
}

#[apply(on_both)]
async fn a_row_names_the_page_that_delivered_the_user_or_the_answer_that_confirmed_it() {
    let mut tenant = Tenant::default();
    let (_, members) = assigned_group(&mut tenant, "Everybody", 1500);
    let direct = assigned(&mut tenant, 4);
    let mut world = World::start(tenant).await;
    assert_eq!(world.cycle().await.counts.created, 1504);
    let pages = answers(&world, "/members");
    assert_eq!(pages.len(), 2);
    let logged = world.query("SELECT DISTINCT request_id FROM provisioning_log").await.concat();
    let batch = last_request_id(&world, &direct[0]).await;
    assert!(answers(&world, "/$batch").contains(&batch), "{batch}");
    let mut expected = [pages, vec![batch]].concat();
    expected.sort();
    let mut found = logged;
    found.sort();
    assert_eq!(found, expected);

    world.sim.clear_journal();
    world.sim.tenant(|tenant| {
        tenant.user_mut(&members[0]).account_enabled = Some(false);
        tenant.user_mut(&direct[0]).mail = None;
        tenant.unassign(&direct[1]);
        tenant.delete_user(&direct[2]);
    });
    let counts = Counts { in_scope: 1501, deactivated: 3, unchanged: 1500, skipped: 1, ..Counts::default() };
    assert_eq!(world.cycle().await.counts, counts);
    let disabled = last_request_id(&world, &members[0]).await;
    assert!(answers(&world, "/members").contains(&disabled), "{disabled}");
    let batches = answers(&world, "/$batch");
    let others = [&direct[0], &direct[1], &direct[2]];
    let mut ids = Vec::new();
    for user in others {
        ids.push(last_request_id(&world, user).await);
    }
    assert!(ids.iter().all(|id| batches.contains(id)), "{ids:?} {batches:?}");
    assert!(ids[0] != ids[1] && ids[1] != ids[2], "{ids:?}");
}

/// `phase, status, action, reason, detail, approved_by` of the rows about holds of a user.
async fn phases(world: &World, user: &str) -> Vec<Vec<String>> {
    world
        .query(&format!(
            "SELECT phase, status, action, reason, detail, coalesce(approved_by, '') FROM provisioning_log
             WHERE entra_id = '{user}' AND phase IS NOT NULL ORDER BY id"
        ))
        .await
}

#[apply(on_both)]
async fn a_hold_is_logged_when_it_begins_and_when_it_ends() {
    let (mut world, users) = staff(20).await;
    unassign(&world, &users[..11]);
    assert_eq!(world.cycle().await.counts.held, 11);
    for user in [&users[0], &users[10]] {
        let rows = phases(&world, user).await;
        assert_eq!(rows.len(), 1);
        assert_eq!(rows[0][..4], ["begun", "held", "deactivate", "threshold"]);
    }
    world.settled().await;
    // One of them returns, one is approved.
    assign(&world, &users[..1]);
    assert_eq!(world.cycle().await.counts.held, 10);
    let ended = phases(&world, &users[0]).await.remove(1);
    assert_eq!(ended, ["ended", "held", "deactivate", "threshold", "the user is desired again", ""]);
    let named = "SELECT count(*) FROM provisioning_log p JOIN learners r ON r.id = p.learner_id
                 WHERE p.phase = 'ended' AND p.user_name = r.user_name AND p.request_id IS NOT NULL";
    assert_eq!(world.value(named).await, "1");
    world.settled().await;
    world.approve().await;
    world.pass(SignedDuration::from_hours(1));
    assert_eq!(world.cycle().await.counts.deactivated, 10);
    let log = world.log(&users[10]).await;
    assert_eq!(
        log[1..],
        ["deactivate held threshold", "deactivate held threshold ended", "deactivate success unassigned"]
    );
    let ended = phases(&world, &users[10]).await.remove(1);
    assert!(ended[4].starts_with("approved by "), "{ended:?}");
    assert!(!ended[5].is_empty(), "{ended:?}");
    assert_eq!(world.value(named).await, "11");
    world.settled().await;
}
