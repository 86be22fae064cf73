//! `scope.only`, `scope.ignore` and `scope.app_roles`: excluded learners stay unchanged.

use graph_sim::{DEFAULT_ACCESS, Fault, Tenant};
use learner_sync::model::Outcome;
use learner_sync::plan::Counts;

use crate::database::{apply, on_both};
use crate::world::{World, add_users, assigned, assigned_group};

/// A world with these lines in `[scope]`.
async fn scoped(tenant: Tenant, scope: &str) -> World {
    let world = World::start(tenant).await;
    world.configure(&format!("[scope]\n{scope}"));
    world
}

fn rename(world: &World, users: &[String], title: &str) {
    world.sim.tenant(|tenant| users.iter().for_each(|id| tenant.user_mut(id).job_title = Some(title.to_owned())));
}

fn user_name(world: &World, id: &str) -> String {
    world.sim.tenant(|tenant| tenant.user_mut(id).user_principal_name.clone().unwrap())
}

#[tokio::test]
async fn only_the_named_users_change() {
    let mut tenant = Tenant::default();
    let (group, members) = assigned_group(&mut tenant, "Staff", 4);
    // The group itself is not assigned.
    let canary = tenant.add_group("Canary");
    let direct = assigned(&mut tenant, 6);
    tenant.add_member(&canary, &direct[0]);
    let mut world = World::start(tenant).await;
    assert_eq!(world.cycle().await.counts.created, 10);

    // Everybody is renamed; one user each leaves, is disabled, is deleted and joins.
    let newcomer = world.sim.tenant(|tenant| {
        tenant.remove_member(&group, &members[1]);
        tenant.user_mut(&direct[1]).account_enabled = Some(false);
        tenant.delete_user(&direct[2]);
        assigned(tenant, 1).remove(0)
    });
    let all: Vec<String> = members.iter().chain([&direct[0], &direct[3], &direct[4]]).cloned().collect();
    rename(&world, &all, "Diver");
    let before = world.query("SELECT * FROM learners ORDER BY id").await;

    let name = user_name(&world, &direct[4]).to_uppercase();
    world.configure(&format!("[scope]\nonly = [{canary:?}, {:?}, {name:?}]", direct[3]));
    let report = world.cycle().await;
    assert_eq!(report.counts, Counts { in_scope: 3, updated: 3, skipped: 8, ..Counts::default() });
    assert_eq!(report.outcome, Outcome::Success);
    let after = world.query("SELECT * FROM learners ORDER BY id").await;
    let changed: Vec<_> = before.iter().zip(&after).filter(|(before, after)| before != after).collect();
    assert_eq!((changed.len(), after.len()), (3, 10));
    world.settled().await;

    // Without the restriction all pending changes are applied.
    world.configure("");
    let report = world.cycle().await;
    assert_eq!((report.counts.updated, report.counts.created, report.counts.deactivated), (3, 1, 3));
    assert_eq!(world.log(&newcomer).await, ["create success assigned"]);
    world.settled().await;
}

#[tokio::test]
async fn ignored_learners_stay_unchanged_even_when_they_leave() {
    let mut tenant = Tenant::default();
    let (group, members) = assigned_group(&mut tenant, "Contractors", 3);
    let direct = assigned(&mut tenant, 4);
    let mut world = World::start(tenant).await;
    world.cycle().await;
    let (id, name) = (&direct[0], user_name(&world, &direct[1]));
    world.configure(&format!("[scope]\nignore = [{group:?}, {id:?}, {name:?}]"));
    // The accounts and the group are deleted: only the stored routes show that the users were in it.
    world.sim.tenant(|tenant| {
        members.iter().chain(&direct[..3]).for_each(|id| tenant.delete_user(id));
        tenant.delete_group(&group);
        tenant.unassign(&group);
    });
    let report = world.cycle().await;
    assert_eq!((report.counts.deactivated, report.counts.held), (1, 0));
    assert_eq!(world.log(&direct[2]).await.last().unwrap(), "deactivate success account-deleted");
    for id in members.iter().chain(&direct[..2]) {
        assert_eq!(world.learner(id, "active").await, ["1"]);
        assert_eq!(world.log(id).await, ["create success assigned"]);
    }
    world.settled().await;
}

#[tokio::test]
async fn ignored_newcomers_are_not_created_and_shown_by_plan() {
    let mut tenant = Tenant::default();
    let (group, members) = assigned_group(&mut tenant, "Contractors", 2);
    let direct = assigned(&mut tenant, 2);
    let mut world = scoped(tenant, &format!("ignore = [{group:?}, {:?}]", direct[0])).await;
    assert_eq!(world.cycle().await.counts, Counts { in_scope: 1, created: 1, skipped: 3, ..Counts::default() });
    let plan = world.run_program(&["plan", "--json"], 0).json();
    let lines = plan["changes"].as_array().unwrap();
    assert!(lines.iter().all(|line| line["status"] == "skipped" && line["reason"] == "out-of-scope"), "{plan}");
    let explained = world.run_program(&["provision", "--dry-run", &members[0]], 0).stdout;
    assert!(explained.contains("excluded by scope.ignore"), "{explained}");
    world.settled().await;
}

#[apply(on_both)]
async fn the_values_of_ignored_learners_are_not_moved_aside() {
    let mut tenant = Tenant::default();
    let direct = assigned(&mut tenant, 2);
    let mut world = World::start(tenant).await;
    world.cycle().await;
    let mail = world.sim.tenant(|tenant| {
        let mail = tenant.user_mut(&direct[0]).mail.clone();
        tenant.delete_user(&direct[0]);
        let newcomer = assigned(tenant, 1).remove(0);
        tenant.user_mut(&newcomer).mail.clone_from(&mail);
        mail.unwrap()
    });
    world.cycle().await;
    world.configure(&format!("reissued = \"free\"\n[scope]\nignore = [{:?}]", direct[0]));
    world.cycle().await;
    assert_eq!(world.learner(&direct[0], "email").await, [mail]);
    world.settled().await;
}

#[tokio::test]
async fn a_restriction_to_a_group_with_hidden_members_ends_the_cycle() {
    let mut tenant = Tenant::default();
    assigned(&mut tenant, 2);
    let hidden = tenant.add_group("Board");
    let member = add_users(&mut tenant, 1).remove(0);
    tenant.add_member(&hidden, &member);
    tenant.group_mut(&hidden).visibility = Some("HiddenMembership".to_owned());
    let mut world = scoped(tenant, &format!("ignore = [{hidden:?}]")).await;
    let report = world.cycle().await;
    let error = report.error.unwrap();
    assert!(error.contains(&hidden) && error.contains("Member.Read.Hidden"), "{error}");
    assert_eq!(world.value("SELECT count(*) FROM learners").await, "0");
    world.sim.tenant(|tenant| tenant.permissions.insert("Member.Read.Hidden".to_owned()));
    assert_eq!(world.cycle().await.counts.created, 2);
}

#[tokio::test]
async fn only_the_named_app_roles_count() {
    let mut tenant = Tenant::default();
    let roles = tenant.application.roles.clone();
    let someone = add_users(&mut tenant, 4);
    tenant.assign_user_with_role(&someone[0], &roles[0].id);
    tenant.assign_user_with_role(&someone[1], &roles[1].id);
    tenant.assign_user_with_role(&someone[2], &roles[0].id);
    tenant.assign_user_with_role(&someone[2], &roles[1].id);
    tenant.assign_user_with_role(&someone[3], DEFAULT_ACCESS);
    let mut world = scoped(tenant, &format!("app_roles = [{:?}]", roles[0].value.to_uppercase())).await;
    assert_eq!(world.cycle().await.counts, Counts { in_scope: 2, created: 2, ..Counts::default() });
    let explained = world.run_program(&["provision", "--dry-run", &someone[1]], 0).stdout;
    assert!(explained.contains("scope.app_roles"), "{explained}");

    // By id, and the default role, which needs no definition.
    world.configure(&format!("[scope]\napp_roles = [{:?}, {DEFAULT_ACCESS:?}]", roles[1].id));
    let report = world.cycle().await;
    assert_eq!((report.counts.created, report.counts.deactivated, report.counts.unchanged), (2, 1, 1));
    assert_eq!(world.log(&someone[0]).await.last().unwrap(), "deactivate success unassigned");
    world.settled().await;

    world.configure("[scope]\napp_roles = [\"lerner\"]");
    let before = world.lasting().await;
    let report = world.cycle().await;
    let error = report.error.unwrap();
    assert!(error.contains("\"lerner\"") && error.contains("learner, trainer"), "{error}");
    world.unchanged_since(&before).await;
    // Roles without assignments are held like an application without assignments.
    world.sim.tenant(|tenant| someone.iter().for_each(|id| tenant.unassign(id)));
    world.sim.tenant(|tenant| someone.iter().for_each(|id| tenant.assign_user_with_role(id, &roles[0].id)));
    world.configure(&format!("[scope]\napp_roles = [{:?}]", roles[1].value));
    let report = world.cycle().await;
    assert_eq!((report.outcome, report.counts.held, report.counts.deactivated), (Outcome::Held, 3, 0));
}

#[tokio::test]
async fn an_unreadable_ignored_group_ends_the_cycle() {
    for lost in ["not found", "empty", "deleted"] {
        let mut tenant = Tenant::default();
        assigned(&mut tenant, 2);
        // Not assigned, so that no route names it.
        let ignored = tenant.add_group("Board");
        let members = assigned(&mut tenant, 3);
        members.iter().for_each(|id| tenant.add_member(&ignored, id));
        let mut world = World::start(tenant).await;
        world.cycle().await;
        world.configure(&format!("[scope]\nignore = [{ignored:?}]"));
        // Nobody is assigned any more, and the ignored stay.
        world.sim.tenant(|tenant| members.iter().for_each(|id| tenant.unassign(id)));
        assert_eq!(world.cycle().await.counts.deactivated, 0, "{lost}");
        world.settled().await;
        let before = world.lasting().await;
        let place = format!("/v1.0/groups/{ignored}/members");
        match lost {
            "not found" => world.sim.inject(Fault::on("GET", &place).times(2).answer(404)),
            "empty" => world.sim.inject(Fault::on("GET", &place).empty_list()),
            _ => world.sim.tenant(|tenant| tenant.delete_group(&ignored)),
        }
        let report = world.cycle().await;
        let error = report.error.unwrap_or_default();
        assert!(report.outcome == Outcome::Failed && error.contains(&ignored), "{lost}: {error}");
        assert!(error.contains("remove it from the configuration"), "{lost}: {error}");
        world.unchanged_since(&before).await;
        if lost != "deleted" {
            assert_eq!(world.cycle().await.outcome, Outcome::Success, "{lost}");
            world.settled().await;
        }
    }
}

#[apply(on_both)]
async fn a_lost_group_that_is_assigned_as_well_does_not_lift_its_restriction() {
    // The members of the group, and how it is lost.
    for (size, lost) in [(1, "not found"), (3, "not found"), (3, "empty"), (2, "deleted")] {
        let mut tenant = Tenant::default();
        let (ignored, members) = assigned_group(&mut tenant, "Board", size);
        let (staff, _) = assigned_group(&mut tenant, "Staff", 4);
        tenant.add_member(&staff, &members[0]);
        let mut world = World::start(tenant).await;
        assert_eq!(world.cycle().await.counts.created, size as u64 + 4);
        world.configure(&format!("[scope]\nignore = [{ignored:?}]"));
        rename(&world, &members[..1], "Diver");
        assert_eq!(world.cycle().await.counts.skipped, size as u64, "{lost}");
        world.settled().await;
        let before = world.lasting().await;
        let place = format!("/v1.0/groups/{ignored}/members");
        match lost {
            "not found" => world.sim.inject(Fault::on("GET", &place).times(2).answer(404)),
            "empty" => world.sim.inject(Fault::on("GET", &place).empty_list()),
            _ => world.sim.tenant(|tenant| tenant.delete_group(&ignored)),
        }
        let report = world.cycle().await;
        let error = report.error.unwrap_or_default();
        assert!(report.outcome == Outcome::Failed && error.contains(&ignored), "{size} {lost}: {error}");
        world.unchanged_since(&before).await;
        if lost != "deleted" {
            assert_eq!(world.settled().await.outcome, Outcome::Success, "{lost}");
        }
    }
}

#[tokio::test]
async fn check_shows_the_users_of_the_restrictions() {
    let mut tenant = Tenant::default();
    let (group, _) = assigned_group(&mut tenant, "Staff", 2);
    let direct = assigned(&mut tenant, 1);
    let world = World::start(tenant).await;
    let name = user_name(&world, &direct[0]);
    world.configure(&format!("[scope]\nignore = [{group:?}, {name:?}]"));
    let said = world.run_program(&["check"], 0).stdout;
    assert!(said.contains("ok   scope                scope.ignore names 1 group and 1 user\n"), "{said}");
    world.configure(&format!("[scope]\nonly = [{group:?}]\nignore = [\"nobody@harbourworks.example\"]"));
    let said = world.run_program(&["check"], 0).stdout;
    assert!(said.contains("warn scope                scope.only limits every cycle"), "{said}");
    assert!(said.contains("the tenant does not contain: nobody@harbourworks.example"), "{said}");

    world.configure("[scope]\nonly = [\"All staff\"]\nignore = [\"\", \"ada\"]");
    let refused = world.run_program(&["check"], 78).stderr;
    for words in ["scope.only: entry 1 must be", "scope.ignore: entry 1 must be", "scope.ignore: entry 2 must be"] {
        assert!(refused.contains(words), "{refused}");
    }
}
