//! A learner whose row in a list has another type than its account: the lists contradict the account, and nobody is
//! deactivated.

use graph_sim::{Fault, Tenant};
use learner_sync::model::Outcome;

use crate::world::{World, assigned, assigned_group};

const ASSIGNMENTS: &str = "/v1.0/servicePrincipals/{id}/appRoleAssignedTo";
const MEMBERS: &str = "/v1.0/groups/{id}/members";

/// A world with six learners, four members of a group and two users who are assigned directly.
async fn world_of_six() -> (World, String, Vec<String>, Vec<String>) {
    let mut tenant = Tenant::default();
    let (group, members) = assigned_group(&mut tenant, "Staff", 4);
    let direct = assigned(&mut tenant, 2);
    let mut world = World::start(tenant).await;
    assert_eq!(world.cycle().await.counts.created, 6);
    (world, group, members, direct)
}

#[tokio::test]
async fn a_learner_listed_under_another_type_is_held() {
    let (mut world, group, members, direct) = world_of_six().await;
    let principal = |kind: &str| Fault::on("GET", ASSIGNMENTS).always().set_key(&direct[0], "principalType", kind);
    let member = |kind: &str| {
        let kind = format!("#microsoft.graph.{kind}");
        Fault::on("GET", MEMBERS).always().set_key(&members[0], "@odata.type", kind)
    };
    world.sim.tenant(|tenant| tenant.remove_member(&group, &members[1]));
    for (fault, user, words) in [
        (principal("ServicePrincipal"), &direct[0], "listed as a service principal"),
        (principal("Group"), &direct[0], "listed as a group"),
        (principal("GROUP"), &direct[0], "listed as a group"),
        (member("device"), &members[0], "listed as a device"),
        (member("group"), &members[0], "listed as a group"),
        (member("orgContact"), &members[0], "listed as a contact"),
        (member("servicePrincipal"), &members[0], "listed as a service principal"),
        (member("SERVICEPRINCIPAL"), &members[0], "listed as a service principal"),
    ] {
        world.sim.inject(fault);
        let report = world.cycle().await;
        assert_eq!((report.outcome, report.counts.held), (Outcome::Held, 1), "{words}");
        assert_eq!(world.log(user).await.last().unwrap(), "deactivate held unreadable");
        let detail = world.last_detail(user).await;
        assert!(detail.contains(words), "{words}: {detail}");
        // An approval does not say what it is.
        world.approve().await;
        assert_eq!(world.cycle().await.counts.deactivated, 0);
        world.sim.clear_faults();
        assert_eq!(world.cycle().await.counts.unchanged, 5);
    }
    // The other leaver went with the first cycle.
    assert_eq!(world.log(&members[1]).await, ["create success assigned", "deactivate success unassigned"]);

    // Whether groups count or not.
    world.configure("[scope]\ngroup_members = \"none\"");
    world.sim.inject(principal("Group"));
    world.cycle().await;
    assert_eq!(world.log(&direct[0]).await.last().unwrap(), "deactivate held unreadable");
    world.configure("");
    world.sim.clear_faults();
    world.cycle().await;

    // A row of the right type beside it, and an account that says itself why its user leaves.
    world.sim.inject(Fault::on("GET", MEMBERS).always().repeat_row(
        &members[0],
        "@odata.type",
        "#microsoft.graph.device",
    ));
    world.sim.inject(Fault::on("GET", MEMBERS).always().set_key(&members[2], "@odata.type", "#microsoft.graph.device"));
    world.sim.tenant(|tenant| tenant.user_mut(&members[2]).account_enabled = Some(false));
    let report = world.cycle().await;
    assert_eq!((report.outcome, report.counts.deactivated), (Outcome::Success, 1));
    assert_eq!(world.log(&members[2]).await.last().unwrap(), "deactivate success account-disabled");
    assert_eq!(world.learner(&members[0], "active").await, ["1"]);
    world.settled().await;
}

#[tokio::test]
async fn the_members_of_a_group_listed_under_another_type_are_held() {
    for kind in ["User", "ServicePrincipal"] {
        let (mut world, group, members, _) = world_of_six().await;
        world.sim.inject(Fault::on("GET", ASSIGNMENTS).always().set_key(&group, "principalType", kind));
        for _ in 0..2 {
            let report = world.cycle().await;
            assert_eq!(
                (report.outcome, report.counts.held, report.counts.deactivated),
                (Outcome::Held, 4, 0),
                "{kind}"
            );
        }
        assert_eq!(world.log(&members[0]).await.last().unwrap(), "deactivate held unreadable");
        let detail = world.last_detail(&members[0]).await;
        assert!(detail.contains(&group) && detail.contains("is listed as a"), "{detail}");
        world.sim.clear_faults();
        let report = world.cycle().await;
        assert_eq!((report.outcome, report.counts.unchanged), (Outcome::Success, 6), "{kind}");
    }
}

#[tokio::test]
async fn a_user_missing_once_from_list_and_accounts_is_kept() {
    let (mut world, _, _, direct) = world_of_six().await;
    world.sim.inject(Fault::on("GET", ASSIGNMENTS).hide_row(&direct[0]));
    world.sim.inject(Fault::missing_user(&direct[0]).always());
    let report = world.cycle().await;
    assert_eq!((report.outcome, report.counts.deactivated, report.counts.unchanged), (Outcome::Success, 0, 6));
    // Listed again, without an account: the wait begins.
    assert_eq!(world.cycle().await.counts.skipped, 1);
    world.sim.clear_faults();
    assert_eq!(world.cycle().await.counts.unchanged, 6);
    assert_eq!(world.log(&direct[0]).await, ["create success assigned"]);
}
