//! Which users become learners, and what a cycle requests from Graph.

use std::collections::{BTreeMap, BTreeSet};

use graph_sim::{Call, Fault, MemberKind, Tenant, User};
use learner_sync::model::{Outcome, home_name};
use learner_sync::plan::Counts;

use crate::database::{apply, on_both};
use crate::world::{World, add_users, assigned, assigned_group};

const MEMBERS: &str = "/v1.0/groups/{id}/members";

/// The columns that the default mapping fills.
const MAPPED: &str = "user_name, email, first_name, last_name, title, country, employee_number, department, active";

/// The expected row of a user under the default mapping.
fn expected_row(user: &User) -> Vec<String> {
    let User { user_principal_name, mail, given_name, surname, job_title, country, employee_id, department, .. } = user;
    let home = user_principal_name.as_deref().and_then(home_name);
    let user_name = if home.is_some() { &home } else { user_principal_name };
    let values = [user_name, mail, given_name, surname, job_title, country, employee_id, department];
    let mut row: Vec<String> =
        values.into_iter().map(|value| value.clone().unwrap_or_else(|| "NULL".to_owned())).collect();
    row.push("1".to_owned());
    row
}

/// The users assigned to the application, directly or as direct members of an assigned group.
fn assigned_users(tenant: &Tenant) -> Vec<&User> {
    let mut found = BTreeSet::new();
    for (principal, _) in tenant.application.assignments() {
        match tenant.kind_of(principal) {
            Some(MemberKind::User) => drop(found.insert(principal)),
            Some(MemberKind::Group) => {
                let members = tenant.group(principal).unwrap().members();
                found.extend(members.filter(|(_, kind)| *kind == MemberKind::User).map(|(id, _)| id));
            }
            _ => {}
        }
    }
    found.into_iter().map(|id| tenant.find_user(id).unwrap()).collect()
}

/// The calls with this end of the path.
pub(crate) fn calls<'a>(journal: &'a [Call], end_of_path: &'a str) -> Vec<&'a Call> {
    journal.iter().filter(|call| call.path.ends_with(end_of_path)).collect()
}

#[tokio::test]
async fn assigned_enabled_users_with_an_address_become_learners() {
    let mut world = World::start(Tenant::with_users(5000, 11)).await;
    let (mut expected, mut counts) = (BTreeMap::new(), Counts::default());
    world.sim.tenant(|tenant| {
        for user in assigned_users(tenant) {
            let enabled = user.account_enabled == Some(true);
            counts.in_scope += u64::from(enabled);
            if enabled && user.mail.is_some() {
                expected.insert(user.id.clone(), expected_row(user));
            } else {
                counts.skipped += 1;
            }
        }
    });
    counts.created = expected.len() as u64;
    assert!(counts.created > 4000 && counts.skipped > 100, "{counts:?}");

    let report = world.cycle().await;
    assert_eq!((report.outcome, report.counts), (Outcome::Success, counts));
    let rows = world.query(&format!("SELECT external_id, {MAPPED} FROM learners")).await;
    let learners: BTreeMap<String, Vec<String>> = rows.into_iter().map(|mut row| (row.remove(0), row)).collect();
    assert_eq!(learners, expected);

    let report = world.settled().await;
    assert_eq!(report.counts, Counts { unchanged: counts.created, created: 0, ..counts });
    // sled compacts its file when it opens it after a write; later opens do not change it.
    world.settled().await;
    let cache = std::fs::read(world.path("state/cache/db")).unwrap();
    world.settled().await;
    assert!(std::fs::read(world.path("state/cache/db")).unwrap() == cache, "the cache was written for nothing");
    world.full_cycle().await;
    world.settled().await;
}

#[tokio::test]
async fn nested_members_devices_service_principals_and_unassigned_users_never_appear() {
    let mut tenant = Tenant::default();
    let (group, members) = assigned_group(&mut tenant, "Staff", 2);
    let inner = tenant.add_group("Seconded");
    let nested = add_users(&mut tenant, 2);
    nested.iter().for_each(|user| tenant.add_member(&inner, user));
    tenant.add_group_member(&group, &inner);
    let kiosk = tenant.add_device("Kiosk");
    let robot = tenant.add_service_principal("Robot");
    tenant.add_member(&group, &kiosk);
    tenant.add_member(&group, &robot);
    tenant.assign_service_principal("Catalogue");
    add_users(&mut tenant, 3);
    let mut world = World::start(tenant).await;

    let report = world.cycle().await;
    assert_eq!(report.counts, Counts { in_scope: 2, created: 2, ..Counts::default() });
    let learners = world.query("SELECT external_id FROM learners ORDER BY external_id").await;
    assert_eq!(learners.concat(), members.iter().collect::<BTreeSet<_>>().into_iter().cloned().collect::<Vec<_>>());
    world.settled().await;
}

#[tokio::test]
async fn transitive_members_are_learners_with_the_setting() {
    let mut tenant = Tenant::default();
    let (group, members) = assigned_group(&mut tenant, "Staff", 1);
    let inner = tenant.add_group("Seconded");
    let nested = add_users(&mut tenant, 1);
    tenant.add_member(&inner, &nested[0]);
    tenant.add_group_member(&group, &inner);
    let mut world = World::start(tenant).await;
    world.configure("[scope]\ngroup_members = \"transitive\"");

    assert_eq!(world.cycle().await.counts.created, 2);
    assert_eq!(world.log(&nested[0]).await, ["create success assigned"]);
    world.settled().await;

    world.configure("");
    let report = world.cycle().await;
    assert_eq!((report.counts.deactivated, report.counts.unchanged), (1, 1));
    assert_eq!(world.log(&nested[0]).await, ["create success assigned", "deactivate success unassigned"]);
    assert_eq!(world.log(&members[0]).await, ["create success assigned"]);
    world.settled().await;
}

#[tokio::test]
async fn groups_do_not_count_with_the_setting() {
    let mut tenant = Tenant::default();
    let (_, members) = assigned_group(&mut tenant, "Staff", 2);
    let direct = assigned(&mut tenant, 1);
    tenant.assign_user(&members[1]);
    let mut world = World::start(tenant).await;
    world.configure("[scope]\ngroup_members = \"none\"");

    assert_eq!(world.cycle().await.counts.created, 2);
    assert_eq!(world.log(&members[0]).await, Vec::<String>::new());
    assert_eq!(world.log(&members[1]).await, ["create success assigned"]);
    assert_eq!(world.log(&direct[0]).await, ["create success assigned"]);
    assert!(calls(&world.sim.journal(), "/members").is_empty());
    world.settled().await;
}

#[apply(on_both)]
async fn a_user_with_three_routes_is_one_learner_and_the_link_names_the_routes_sorted() {
    let mut tenant = Tenant::default();
    let (first, members) = assigned_group(&mut tenant, "First", 1);
    let ada = members[0].clone();
    let second = tenant.add_group("Second");
    tenant.add_member(&second, &ada);
    tenant.assign_group(&second);
    tenant.assign_user(&ada);
    let mut world = World::start(tenant).await;
    assert_eq!(world.cycle().await.counts.created, 1);
    let mut ways = vec![first.clone(), second.clone(), "direct".to_owned()];
    ways.sort();
    let via = "SELECT via FROM sync_links";
    assert_eq!(world.value(via).await, serde_json::json!(ways).to_string());
    world.settled().await;

    world.sim.tenant(|tenant| tenant.unassign(&ada));
    world.sim.tenant(|tenant| tenant.remove_member(&first, &ada));
    let report = world.cycle().await;
    assert_eq!(report.counts, Counts { in_scope: 1, unchanged: 1, ..Counts::default() });
    assert_eq!(world.value(via).await, serde_json::json!([second]).to_string());
    assert_eq!(world.log(&ada).await, ["create success assigned"]);
    world.settled().await;
}

#[tokio::test]
async fn long_lists_are_read_to_their_end() {
    let mut tenant = Tenant::default();
    let (_, members) = assigned_group(&mut tenant, "Everybody", 1100);
    let direct = assigned(&mut tenant, 350);
    let mut world = World::start(tenant).await;
    let report = world.cycle().await;
    let everybody = (members.len() + direct.len()) as u64;
    assert_eq!(report.counts, Counts { in_scope: everybody, created: everybody, ..Counts::default() });

    let journal = world.sim.journal();
    assert_eq!(calls(&journal, "/members").len(), 2);
    let filters: Vec<_> = journal.iter().filter(|call| call.query.contains("id in (")).collect();
    assert_eq!(filters.len(), 350_usize.div_ceil(15));
    assert!(filters.iter().all(|call| call.in_batch && call.query.matches('\'').count() <= 2 * 15));
    assert_eq!(calls(&journal, "/$batch").len(), 350_usize.div_ceil(15).div_ceil(20));
    world.settled().await;
}

#[tokio::test]
async fn small_pages_give_the_same_learners() {
    let mut tenant = Tenant::default();
    // At least the 15 ids of a filter: Graph returns those in one page.
    tenant.page_cap = Some(15);
    assigned_group(&mut tenant, "Staff", 61);
    assigned(&mut tenant, 40);
    let mut world = World::start(tenant).await;
    assert_eq!(world.cycle().await.counts.created, 101);
    assert_eq!(calls(&world.sim.journal(), "/appRoleAssignedTo").len(), 41_usize.div_ceil(15));
    assert_eq!(calls(&world.sim.journal(), "/members").len(), 61_usize.div_ceil(15));
    world.settled().await;
}

#[tokio::test]
async fn a_cycle_selects_only_mapped_attributes() {
    let mut tenant = Tenant::default();
    assigned_group(&mut tenant, "Staff", 3);
    let direct = assigned(&mut tenant, 3);
    let mut world = World::start(tenant).await;
    world.cycle().await;
    world.sim.tenant(|tenant| {
        tenant.unassign(&direct[0]);
        tenant.delete_user(&direct[1]);
    });
    assert_eq!(world.cycle().await.counts.deactivated, 2);

    let mapped: BTreeSet<&str> =
        "id accountEnabled userPrincipalName displayName mail givenName surname jobTitle country \
                                  employeeId department"
            .split(' ')
            .collect();
    for call in world.sim.journal() {
        let Call { method, path, query, headers, status, .. } = &call;
        assert!(!headers.contains_key("consistencylevel"), "{call:?}");
        assert!(!path.contains("delta") && !path.contains("$count") && !query.contains("$count"), "{call:?}");
        assert!(!path.contains("microsoft.graph."), "{call:?}");
        assert!(*status == 200 || *status == 404, "{call:?}");
        assert!(method == "GET" || path.ends_with("/$batch") || path.ends_with("/token"), "{call:?}");
        if path.contains("/users") || path.ends_with("/members") {
            let selected = query.split('&').find_map(|part| part.strip_prefix("$select=")).unwrap();
            let selected: BTreeSet<&str> = selected.split(',').collect();
            assert!(selected.is_subset(&mapped), "{call:?}");
        }
    }
    world.settled().await;
}

#[tokio::test]
async fn an_attribute_missing_from_a_member_row_is_read_directly() {
    let mut tenant = Tenant::default();
    tenant.members_omit_nulls = true;
    let group = tenant.add_group("Staff");
    let ada = tenant.add_user(User::named("Ada", "Lovelace").department("Research").job_title("Engineer"));
    tenant.add_member(&group, &ada);
    tenant.assign_group(&group);
    let mut world = World::start(tenant).await;
    assert_eq!(world.cycle().await.outcome, Outcome::Success);
    assert_eq!(world.learner(&ada, "department, country").await, ["Research", "NULL"]);
    let asked = |world: &World| world.sim.journal().iter().filter(|call| call.query.contains(&ada)).count();
    assert_eq!(asked(&world), 1);

    // Missing from the row does not mean cleared: the direct answer has the value.
    world.sim.inject(Fault::on("GET", MEMBERS).always().drop_key("department").drop_key("accountEnabled"));
    let report = world.settled().await;
    assert_eq!(report.counts, Counts { in_scope: 1, unchanged: 1, ..Counts::default() });
    assert_eq!(asked(&world), 2);

    // Cleared in Entra, and missing from the member row.
    world.sim.tenant(|tenant| tenant.user_mut(&ada).department = None);
    assert_eq!(world.cycle().await.counts.updated, 1);
    assert_eq!(world.learner(&ada, "department, title").await, ["NULL", "Engineer"]);
    world.settled().await;
}

#[tokio::test]
async fn an_attribute_missing_from_the_direct_answer_makes_the_account_unreadable() {
    let mut tenant = Tenant::default();
    let ada = assigned(&mut tenant, 1).remove(0);
    let mut world = World::start(tenant).await;
    world.cycle().await;
    world.sim.inject(Fault::on("GET", "/v1.0/users").always().drop_key("accountEnabled"));
    let report = world.cycle().await;
    assert_eq!(report.outcome, Outcome::Partial);
    assert_eq!(world.log(&ada).await, ["create success assigned", "update failure unreadable"]);
    assert_eq!(world.learner(&ada, "active").await, ["1"]);
    world.settled().await;
}

#[tokio::test]
async fn rows_of_nulls_mean_a_lost_permission_and_change_nothing() {
    let mut tenant = Tenant::default();
    let (group, members) = assigned_group(&mut tenant, "Staff", 2);
    let mut world = World::start(tenant).await;
    world.cycle().await;
    let before = world.query(&format!("SELECT {MAPPED} FROM learners ORDER BY id")).await;

    let newcomer = world.sim.tenant(|tenant| {
        let newcomer = add_users(tenant, 1).remove(0);
        tenant.add_member(&group, &newcomer);
        newcomer
    });
    world.sim.inject(Fault::on("GET", MEMBERS).times(2).null_rows());
    world.sim.inject(Fault::on("GET", MEMBERS).nth(3).times(2).null_key("accountEnabled"));
    let nameless = Fault::on("GET", MEMBERS).nth(5).times(2);
    world.sim.inject(nameless.null_key("displayName").null_key("userPrincipalName"));
    for _ in 0..6 {
        let report = world.cycle().await;
        assert_eq!((report.outcome, report.counts), (Outcome::Partial, Counts { failed: 3, ..Counts::default() }));
    }
    assert_eq!(world.query(&format!("SELECT {MAPPED} FROM learners ORDER BY id")).await, before);
    // Logged once, at the first failure.
    assert_eq!(world.log(&members[0]).await, ["create success assigned", "update failure unreadable"]);
    assert_eq!(world.log(&newcomer).await, ["create failure unreadable"]);
    assert_eq!(world.query("SELECT DISTINCT attempts FROM sync_failures").await, [["6"]]);

    let report = world.cycle().await;
    assert_eq!(report.counts, Counts { in_scope: 3, created: 1, unchanged: 2, ..Counts::default() });
    assert_eq!(world.value("SELECT count(*) FROM sync_failures").await, "0");
    world.settled().await;
}

#[tokio::test]
async fn an_assigned_user_that_graph_does_not_know_yet_is_skipped() {
    let mut tenant = Tenant::default();
    let users = assigned(&mut tenant, 2);
    let mut world = World::start(tenant).await;
    world.sim.inject(Fault::missing_user(&users[0]));
    let report = world.cycle().await;
    let counts = Counts { in_scope: 1, created: 1, skipped: 1, ..Counts::default() };
    assert_eq!((report.outcome, report.counts), (Outcome::Success, counts));
    assert_eq!(world.log(&users[0]).await, Vec::<String>::new());
    world.settled().await;

    world.sim.clear_faults();
    assert_eq!(world.cycle().await.counts.created, 1);
    assert_eq!(world.log(&users[0]).await, ["create success assigned"]);
    world.settled().await;
}

#[tokio::test]
async fn the_application_can_be_named_by_its_app_id() {
    let mut tenant = Tenant::default();
    let ada = assigned(&mut tenant, 1).remove(0);
    let application = tenant.application.clone();
    let (mine, client) = (tenant.tenant_id.clone(), tenant.client_id.clone());
    let mut world = World::start(tenant).await;
    world.configure_for(&mine, &client, &application.app_id, "");
    assert_eq!(world.cycle().await.counts.created, 1);
    let source = format!("{mine}/{}", application.object_id);
    assert_eq!(world.query("SELECT source, entra_id FROM sync_links").await, [[source.clone(), ada]]);
    assert_eq!(world.value("SELECT DISTINCT source FROM sync_cycles").await, source);

    // The same source, named by its object id.
    world.configure("");
    assert_eq!(world.cycle().await.counts.unchanged, 1);
    world.settled().await;
}

#[tokio::test]
async fn a_user_with_several_roles_is_assigned_once() {
    let mut tenant = Tenant::default();
    let roles: Vec<String> = tenant.application.roles.iter().map(|role| role.id.clone()).collect();
    let ada = add_users(&mut tenant, 1).remove(0);
    let (group, _) = assigned_group(&mut tenant, "Staff", 2);
    for role in &roles {
        tenant.assign_user_with_role(&ada, role);
        tenant.assign_user_with_role(&group, role);
    }
    let mut world = World::start(tenant).await;
    assert_eq!(world.cycle().await.counts, Counts { in_scope: 3, created: 3, ..Counts::default() });
    assert_eq!(calls(&world.sim.journal(), "/members").len(), 1);
    // Losing one of the roles changes nothing.
    world.sim.tenant(|tenant| tenant.unassign(&ada));
    world.sim.tenant(|tenant| tenant.assign_user_with_role(&ada, &roles[0]));
    world.settled().await;
}
