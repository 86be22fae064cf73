//! A row of Graph that says what it said in an earlier cycle is not decoded again, and hides no change.

use graph_sim::{Fault, Tenant};
use learner_sync::model::Outcome;
use learner_sync::plan::Counts;

use crate::directory::calls;
use crate::world::{World, assigned_group};

const MEMBERS: &str = "/v1.0/groups/{id}/members";

/// A world with an assigned group of twelve learners.
async fn world_of_twelve(more: &str) -> (World, String, Vec<String>) {
    let mut tenant = Tenant::default();
    tenant.page_cap = Some(5);
    let (group, members) = assigned_group(&mut tenant, "Staff", 12);
    let world = World::start(tenant).await;
    configure(&world, more);
    assert_eq!(sync(&world, &[]), (0, "created", 12));
    (world, group, members)
}

fn configure(world: &World, more: &str) {
    world.configure(&format!("[log]\nlevel = \"learner_sync=debug\"\n{more}"));
}

/// Runs a cycle. Returns how many users had a known row, and the changes of the only action.
fn sync(world: &World, more: &[&str]) -> (u64, &'static str, u64) {
    let ran = world.run_program(&[&["sync", "--json"], more].concat(), 0);
    let (_, known) = ran.stderr.split_once(" known=").unwrap();
    let known = known.split_once(' ').unwrap().0.parse().unwrap();
    let counts = ran.json();
    let actions = ["created", "updated", "deactivated", "reactivated", "skipped", "held", "failed"];
    let mut changes = actions.into_iter().map(|action| (action, counts[action].as_u64().unwrap()));
    let (action, changed) = changes.clone().find(|(_, changed)| *changed > 0).unwrap_or(("unchanged", 0));
    assert_eq!(changes.clone().map(|(_, changed)| changed).sum::<u64>(), changed, "{counts}");
    assert!(changes.all(|(_, changed)| changed == 0) || action != "unchanged");
    (known, action, changed)
}

#[tokio::test]
async fn only_new_and_changed_rows_are_decoded() {
    let (world, group, members) = world_of_twelve("").await;
    assert_eq!(sync(&world, &[]), (12, "unchanged", 0));

    world.sim.tenant(|tenant| tenant.user_mut(&members[0]).job_title = Some("Diver".to_owned()));
    assert_eq!(sync(&world, &[]), (11, "updated", 1));
    assert_eq!(world.learner(&members[0], "title").await, ["Diver"]);
    assert_eq!(sync(&world, &[]), (12, "unchanged", 0));

    // A change that the mapping does not use.
    world.sim.tenant(|tenant| tenant.user_mut(&members[0]).display_name = Some("The Diver".to_owned()));
    assert_eq!(sync(&world, &[]), (11, "unchanged", 0));
    assert_eq!(sync(&world, &[]), (12, "unchanged", 0));

    // The row of an inactive learner is decoded in each cycle.
    world.sim.tenant(|tenant| tenant.user_mut(&members[1]).account_enabled = Some(false));
    assert_eq!(sync(&world, &[]), (11, "deactivated", 1));
    assert_eq!(sync(&world, &[]), (11, "unchanged", 0));
    world.sim.tenant(|tenant| tenant.user_mut(&members[1]).account_enabled = Some(true));
    assert_eq!(sync(&world, &[]), (11, "reactivated", 1));
    assert_eq!(sync(&world, &[]), (12, "unchanged", 0));

    world.sim.tenant(|tenant| tenant.remove_member(&group, &members[2]));
    assert_eq!(sync(&world, &[]), (11, "deactivated", 1));
    world.sim.tenant(|tenant| tenant.add_member(&group, &members[2]));
    assert_eq!(sync(&world, &[]), (11, "reactivated", 1));
    assert_eq!(sync(&world, &[]), (12, "unchanged", 0));
}

#[tokio::test]
async fn a_full_comparison_decodes_every_row() {
    let (world, _, members) = world_of_twelve("").await;
    world.execute(&format!("UPDATE learners SET title = 'Pilot' WHERE external_id = '{}'", members[0])).await;
    assert_eq!(sync(&world, &[]), (12, "unchanged", 0));
    assert_eq!(sync(&world, &["--full"]), (0, "updated", 1));
    assert_eq!(sync(&world, &[]), (12, "unchanged", 0));
    assert_eq!(world.learner(&members[0], "title").await, ["NULL"]);
    // A cache that was built from other rules has no rows either.
    let mapping = "[mapping]\nuserName = \"[userPrincipalName]\"\n'emails[type eq \"work\"].value' = \"[mail]\"\n\
                   active = '\"True\"'\n";
    configure(&world, mapping);
    assert_eq!(sync(&world, &[]), (0, "unchanged", 0));
    assert_eq!(sync(&world, &[]), (12, "unchanged", 0));
}

#[tokio::test]
async fn a_change_that_waits_is_decoded_until_it_is_written() {
    let (world, _, members) = world_of_twelve("").await;
    world.execute(&format!("UPDATE learners SET title = 'Pilot' WHERE external_id = '{}'", members[0])).await;
    configure(&world, "[safety]\nrepair = \"log\"");
    for (arguments, known) in [(&["--full"][..], 0), (&[], 11), (&[], 11)] {
        assert_eq!(sync(&world, arguments), (known, "skipped", 1), "{arguments:?}");
    }
    configure(&world, "[safety]\nrepair = \"attributes\"");
    assert_eq!(sync(&world, &[]), (11, "updated", 1));
    assert_eq!(sync(&world, &[]), (12, "unchanged", 0));
}

#[tokio::test]
async fn a_row_that_comes_back_is_not_the_known_one() {
    let (world, _, members) = world_of_twelve("").await;
    // The platform writes the new value before Entra has it, so the cycle has nothing to write.
    world.execute(&format!("UPDATE learners SET title = 'Pilot' WHERE external_id = '{}'", members[0])).await;
    world.sim.tenant(|tenant| tenant.user_mut(&members[0]).job_title = Some("Pilot".to_owned()));
    assert_eq!(sync(&world, &[]), (11, "unchanged", 0));
    world.sim.tenant(|tenant| tenant.user_mut(&members[0]).job_title = None);
    assert_eq!(sync(&world, &[]), (11, "updated", 1));
    assert_eq!(world.learner(&members[0], "title").await, ["NULL"]);
    assert_eq!(sync(&world, &[]), (12, "unchanged", 0));
}

#[tokio::test]
async fn a_list_of_names_is_applied_to_rows_that_are_known() {
    let (mut world, _, members) = world_of_twelve("").await;
    let name = world.sim.tenant(|tenant| tenant.user_mut(&members[3]).user_principal_name.clone().unwrap());
    configure(&world, &format!("[scope]\nonly = [{name:?}]"));
    // All rows are decoded once, and then the row of the named user in each cycle.
    assert_eq!(sync(&world, &[]), (0, "skipped", 11));
    assert_eq!(sync(&world, &[]), (11, "skipped", 11));
    configure(&world, &format!("[safety]\nprotected = [{name:?}]"));
    assert_eq!(sync(&world, &[]), (0, "unchanged", 0));
    assert_eq!(sync(&world, &[]), (11, "unchanged", 0));
    configure(&world, &format!("[safety]\nprotected = [{name:?}, \"nobody@example.org\"]"));
    assert_eq!(sync(&world, &[]), (0, "unchanged", 0));
    world.configure("");
    let report = world.cycle().await;
    assert_eq!(report.counts, Counts { in_scope: 12, unchanged: 12, ..Counts::default() });
}

#[tokio::test]
async fn a_mapping_that_reads_the_clock_decodes_every_row() {
    let (mut world, ..) = world_of_twelve("").await;
    world.configure(
        "[mapping]\nuserName = \"[userPrincipalName]\"\n'emails[type eq \"work\"].value' = \"[mail]\"\n\
         active = '\"True\"'\ntitle = 'IIF(Now() > CDate(\"2026-03-02T09:15:00Z\"), \"Senior\", \"Junior\")'\n",
    );
    // Cycles at eight, half past eight, nine and half past nine.
    for updated in [12, 0, 0, 12] {
        let report = world.cycle().await;
        assert_eq!((report.outcome, report.counts.updated), (Outcome::Success, updated));
    }
    assert_eq!(world.value("SELECT count(*) FROM learners WHERE title = 'Senior'").await, "12");
}

#[tokio::test]
async fn a_row_that_contradicts_a_known_one_is_settled_by_the_account() {
    let (mut world, first, members) = world_of_twelve("").await;
    world.configure("");
    let second = world.sim.tenant(|tenant| {
        let second = tenant.add_group("Second");
        tenant.assign_group(&second);
        tenant.add_member(&second, &members[0]);
        second
    });
    assert_eq!(world.cycle().await.counts.unchanged, 12);
    for group in [&first, &second] {
        let wrong = Fault::on("GET", MEMBERS).always().mentioning(group).set_key(&members[0], "jobTitle", "Diver");
        for (fault, batches) in [(Some(wrong), 1), (None, 0)] {
            fault.into_iter().for_each(|fault| world.sim.inject(fault));
            let calls_before = world.sim.journal().len();
            let report = world.cycle().await;
            world.sim.clear_faults();
            assert_eq!((report.outcome, report.counts.unchanged), (Outcome::Success, 12));
            let journal = world.sim.journal();
            assert_eq!(calls(&journal[calls_before..], "/$batch").len(), batches);
        }
    }
    assert_eq!(world.learner(&members[0], "title").await, ["NULL"]);
}

#[tokio::test]
async fn provisioning_a_user_shows_an_account_whose_row_is_known() {
    let (world, _, members) = world_of_twelve("").await;
    let shown = world.run_program(&["provision", &members[0]], 0).stdout;
    assert!(shown.contains("Research"), "{shown}");
    assert_eq!(sync(&world, &[]), (12, "unchanged", 0));
}
