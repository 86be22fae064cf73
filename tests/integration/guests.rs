//! Guests: their names in Entra, in the learner database, in the configuration and on the command line.

use graph_sim::{Fault, MemberKind, Tenant, User};
use learner_sync::model::Outcome;
use learner_sync::plan::Counts;

use crate::database::{apply, on_both};
use crate::holds::{held, held_as};
use crate::world::{World, assigned};

const HOME: &str = "ada_king@partner.example";
const STORED: &str = "ada_king_partner.example#EXT#@harbourworks.example";

/// Twelve members and Ada, a guest in a group, all assigned.
fn with_guest() -> (Tenant, String) {
    let mut tenant = Tenant::default();
    let members = assigned(&mut tenant, 12);
    let ada = tenant.add_user(User::named("Ada", "King").invited_as(HOME).department("Research"));
    let guests = tenant.add_group("Guests");
    tenant.assign_group(&guests);
    // Without the guest, the group is not empty.
    [&ada, &members[0]].into_iter().for_each(|user| tenant.add_member(&guests, user));
    (tenant, ada)
}

/// The group of the guest.
fn guests(tenant: &Tenant) -> String {
    let principals = tenant.application.assignments().map(|(principal, _)| principal);
    principals.filter(|id| tenant.kind_of(id) == Some(MemberKind::Group)).map(str::to_owned).next().unwrap()
}

fn join(tenant: &mut Tenant, ada: &str) {
    let group = guests(tenant);
    tenant.add_member(&group, ada);
}

fn leave(tenant: &mut Tenant, ada: &str) {
    let group = guests(tenant);
    tenant.remove_member(&group, ada);
}

/// A world in which Ada has her stored name, as before an upgrade.
async fn upgraded() -> (World, String) {
    let (tenant, ada) = with_guest();
    let mut world = World::start(tenant).await;
    world.configure(&crate::mapping::mapping("").replace("[userPrincipalName]", "[originalUserPrincipalName]"));
    assert_eq!(world.cycle().await.counts.created, 13);
    assert_eq!(world.learner(&ada, "user_name").await, [STORED]);
    world.configure(&crate::mapping::mapping("[safety]\nrepair = \"all\""));
    (world, ada)
}

#[apply(on_both)]
async fn a_guest_is_called_as_in_the_home_tenant() {
    let (tenant, ada) = with_guest();
    let mut world = World::start(tenant).await;
    // Filters see the stored name.
    world.configure(
        "[[scope.filter]]\nname = 'all'\nclauses = [{ attribute = 'userPrincipalName', operator = 'REGEX MATCH', \
         value = '.*@harbourworks\\.example' }]",
    );
    assert_eq!(world.cycle().await.counts.created, 13);
    assert_eq!(world.learner(&ada, "user_name, email").await, [HOME, HOME]);
    world.settled().await;
}

#[apply(on_both)]
async fn the_log_of_a_guest_is_found_by_each_name() {
    let (tenant, ada) = with_guest();
    let mut world = World::start(tenant).await;
    world.cycle().await;
    world
        .execute(&format!(
            "INSERT INTO provisioning_log (cycle_id, at, action, status, entra_id, user_name, reason, changes)
         SELECT cycle_id, at, action, status, entra_id, 'former@partner.example', reason, changes
         FROM provisioning_log WHERE entra_id = '{ada}'"
        ))
        .await;
    let names = [HOME, STORED, &STORED.to_uppercase(), "Former@partner.example", &ada];
    for name in names {
        assert_eq!(logged_users(&world, name), [&*ada, &ada], "{name}");
    }
    // A user without a learner is known by the log alone.
    world.execute(&format!("DELETE FROM learners WHERE external_id = '{ada}'")).await;
    for name in names {
        assert_eq!(logged_users(&world, name), [&*ada, &ada], "{name}");
    }
    assert_eq!(logged_users(&world, "nobody@partner.example"), [""; 0]);
}

/// The users in the log rows that `log --user` finds by `name`.
fn logged_users(world: &World, name: &str) -> Vec<String> {
    let document = world.run_program(&["log", "--format", "json", "--user", name], 0).json();
    document.as_array().unwrap().iter().map(|row| row["entra_id"].as_str().unwrap().to_owned()).collect()
}

#[apply(on_both)]
async fn the_log_of_a_guest_with_a_stored_name_is_found_by_each_name() {
    let (world, ada) = upgraded().await;
    for name in [HOME, STORED, &HOME.to_uppercase(), &ada] {
        assert_eq!(logged_users(&world, name), [&*ada], "{name}");
    }
}

#[apply(on_both)]
async fn an_upgrade_renames_a_guest_only_after_an_approval() {
    let (mut world, ada) = upgraded().await;
    let report = world.cycle().await;
    let counts = Counts { in_scope: 13, unchanged: 12, held: 1, ..Counts::default() };
    assert_eq!((report.outcome, report.counts), (Outcome::Held, counts));
    assert_eq!(held(&world).await, held_as(std::slice::from_ref(&ada), "update", "threshold"));
    assert!(world.last_detail(&ada).await.contains("[originalUserPrincipalName]"));
    assert_eq!(world.learner(&ada, "user_name").await, [STORED]);
    world.settled().await;

    assert_eq!(world.approve().await, 1);
    assert_eq!(world.cycle().await.counts.updated, 1);
    assert_eq!(world.learner(&ada, "user_name").await, [HOME]);
    world.settled().await;
}

#[apply(on_both)]
async fn a_guest_who_returns_after_an_upgrade_is_renamed_only_after_an_approval() {
    for how in ["unassigned", "deactivated outside"] {
        let (mut world, ada) = upgraded().await;
        if how == "unassigned" {
            world.sim.tenant(|tenant| leave(tenant, &ada));
            assert_eq!(world.cycle().await.counts.deactivated, 1);
            world.sim.tenant(|tenant| join(tenant, &ada));
        } else {
            world.execute(&format!("UPDATE learners SET active = false WHERE external_id = '{ada}'")).await;
        }
        let report = world.full_cycle().await;
        let counts = Counts { in_scope: 13, reactivated: 1, unchanged: 12, held: 1, ..Counts::default() };
        assert_eq!((report.outcome, report.counts), (Outcome::Held, counts), "{how}");
        assert_eq!(held(&world).await, held_as(std::slice::from_ref(&ada), "update", "threshold"));
        assert_eq!(world.learner(&ada, "user_name, active").await, [STORED, "1"]);
        assert_eq!(world.settled().await.counts.held, 1);

        // A guest who leaves has no name to approve.
        world.sim.tenant(|tenant| leave(tenant, &ada));
        world.cycle().await;
        assert_eq!(held(&world).await.len(), 0);
        world.sim.tenant(|tenant| join(tenant, &ada));
        assert_eq!(world.cycle().await.counts.held, 1);
        assert_eq!(world.approve().await, 1);
        assert_eq!(world.cycle().await.counts.updated, 1, "{how}");
        assert_eq!(world.learner(&ada, "user_name").await, [HOME]);
        world.settled().await;
    }
}

#[tokio::test]
async fn a_hold_ends_when_the_stored_name_is_mapped() {
    let (mut world, ada) = upgraded().await;
    assert_eq!(world.cycle().await.counts.held, 1);
    world.configure(&crate::mapping::mapping("").replace("[userPrincipalName]", "[originalUserPrincipalName]"));
    let report = world.cycle().await;
    assert_eq!((report.outcome, report.counts.unchanged), (Outcome::Success, 13));
    assert_eq!((held(&world).await.len(), world.learner(&ada, "user_name").await), (0, vec![STORED.to_owned()]));
}

#[tokio::test]
async fn a_guest_is_named_by_every_name() {
    let platform = "ada@platform.example";
    for (setting, name) in [
        ("[safety]\nprotected", HOME),
        ("[safety]\nprotected", STORED),
        ("[safety]\nprotected", platform),
        ("[scope]\nignore", &HOME.to_uppercase()),
        ("[scope]\nignore", &STORED.to_lowercase()),
        ("[scope]\nignore", platform),
    ] {
        for unassigned in [false, true] {
            let (tenant, ada) = with_guest();
            let mut world = World::start(tenant).await;
            let mapping = crate::mapping::mapping("").replace("[userPrincipalName]", "ToLower([mail])");
            let mapping = format!("{mapping}\n{setting} = [{name:?}]");
            world.configure(&mapping);
            let expected = if setting.contains("ignore") && name != platform { 12 } else { 13 };
            assert_eq!(world.cycle().await.counts.created, expected, "{setting} {name}");
            world.execute(&format!("UPDATE learners SET user_name = '{platform}' WHERE external_id = '{ada}'")).await;
            world.sim.tenant(|tenant| match unassigned {
                true => leave(tenant, &ada),
                false => tenant.user_mut(&ada).account_enabled = Some(false),
            });
            let report = world.cycle().await;
            assert_eq!(report.counts.deactivated, 0, "{setting} {name} {unassigned}");
        }
    }
}

#[tokio::test]
async fn only_a_named_guest_is_created() {
    for name in [HOME, STORED, &STORED.to_uppercase()] {
        let (tenant, ada) = with_guest();
        let mut world = World::start(tenant).await;
        world.configure(&format!("[scope]\nonly = [{name:?}]"));
        assert_eq!(world.cycle().await.counts.created, 1, "{name}");
        assert_eq!(world.learner(&ada, "user_name").await, [HOME]);
    }
}

#[tokio::test]
async fn a_guest_and_a_member_do_not_share_a_name() {
    let (mut tenant, ada) = with_guest();
    let member = tenant.add_user(User::named("Ada", "Other").user_principal_name(HOME).mail("other@partner.example"));
    tenant.assign_user(&member);
    let mut world = World::start(tenant).await;
    let report = world.cycle().await;
    assert_eq!((report.counts.created, report.counts.failed), (12, 2));
    for user in [&ada, &member] {
        assert_eq!(world.log(user).await, ["create failure conflict"]);
    }
    world.sim.tenant(|tenant| leave(tenant, &ada));
    assert_eq!(world.cycle().await.counts.created, 1);
    world.sim.tenant(|tenant| join(tenant, &ada));
    assert_eq!(world.cycle().await.counts.failed, 1);
    assert_eq!(world.learner(&member, "user_name").await, [HOME]);
}

#[tokio::test]
async fn an_unlinked_learner_with_the_home_name_is_adopted() {
    let (tenant, ada) = with_guest();
    let mut world = World::start(tenant).await;
    world.run_program(&["schema", "apply"], 0);
    world.execute(&format!("INSERT INTO learners (user_name, email, active) VALUES ('{HOME}', '{HOME}', true)")).await;
    world.cycle().await;
    assert_eq!(world.log(&ada).await, ["update success adopted"]);
}

/// A second page may name another guest, so a list that goes on proves nobody.
#[tokio::test]
async fn a_guest_is_not_picked_from_a_list_that_goes_on() {
    let (tenant, _) = with_guest();
    let world = World::start(tenant).await;
    let link = format!("{}/v1.0/users?$skiptoken=more", world.sim.url());
    world.sim.inject(Fault::on("GET", "/v1.0/users").always().next_link(&link));
    let refused = world.run_program(&["provision", HOME, "--dry-run"], 1);
    assert!(refused.stderr.contains("has no user \"ada_king@partner.example\""), "{refused:?}");
    // The stored name is read directly.
    world.run_program(&["provision", STORED, "--dry-run"], 0);
}

#[tokio::test]
async fn commands_accept_both_names_of_a_guest() {
    let (tenant, ada) = with_guest();
    let mut world = World::start(tenant).await;
    for name in [HOME, STORED, "ADA_KING@partner.example"] {
        let document = world.run_program(&["provision", name, "--dry-run", "--json"], 0).json();
        assert_eq!(document["entra_id"], serde_json::json!(ada), "{name}");
        let value = world.run_program(&["mapping", "eval", "--user", name, "[userPrincipalName]"], 0).stdout;
        assert_eq!(value, format!("{HOME:?}\n"));
    }
    world.cycle().await;
    world.sim.tenant(|tenant| tenant.delete_user(&ada));
    for name in [HOME, STORED] {
        let document = world.run_program(&["provision", name, "--dry-run", "--json"], 0).json();
        assert_eq!(document["entra_id"], serde_json::json!(ada), "{name}");
    }
}
