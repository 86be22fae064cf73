//! `[appRoleAssignments]`: the app role of a user, directly or by a group, as an attribute of the learner.

use graph_sim::{Fault, Tenant};
use learner_sync::plan::Counts;

use crate::database::{apply, on_both};
use crate::program::add_assigned_user;
use crate::world::{World, add_users};

const MAPPING: &str = r#"[mapping]
userName = "[userPrincipalName]"
"emails[type eq \"work\"].value" = "[mail]"
active = "Switch([IsSoftDeleted], , \"False\", \"True\", \"True\", \"False\")"
"urn:ietf:params:scim:schemas:extension:SJUserAttributes:2.0:User:job_role" = "SingleAppRoleAssignment([appRoleAssignments])"
"#;

#[apply(on_both)]
async fn the_name_of_the_role_is_mapped() {
    let mut tenant = Tenant::default();
    let roles = tenant.application.roles.clone();
    let by_default = add_assigned_user(&mut tenant, "Ada", "Lovelace");
    let ids = add_users(&mut tenant, 3);
    let group = tenant.add_group("Trainers");
    tenant.assign_user_with_role(&group, &roles[1].id);
    tenant.assign_user_with_role(&ids[0], &roles[0].id);
    tenant.add_member(&group, &ids[1]);
    tenant.assign_user_with_role(&ids[2], &roles[0].id);
    tenant.add_member(&group, &ids[2]);
    let mut world = World::start(tenant).await;
    world.configure(MAPPING);
    assert_eq!(world.cycle().await.counts.created, 4);
    for (id, role) in
        [(&by_default, "Default Assignment"), (&ids[0], "Learner"), (&ids[1], "Trainer"), (&ids[2], "Learner")]
    {
        assert_eq!(world.learner(id, "job_role").await, [role]);
    }
    world.settled().await;

    // Only the assignment changes.
    world.sim.tenant(|tenant| {
        tenant.unassign(&ids[2]);
        tenant.assign_user_with_role(&by_default, &roles[1].id);
        tenant.unassign(&by_default);
        tenant.assign_user_with_role(&by_default, &roles[1].id);
    });
    let report = world.cycle().await;
    assert_eq!(report.counts, Counts { in_scope: 4, updated: 2, unchanged: 2, ..Counts::default() });
    for id in [&by_default, &ids[2]] {
        assert_eq!(world.learner(id, "job_role").await, ["Trainer"]);
        assert_eq!(world.log(id).await, ["create success assigned", "update success attributes-changed"]);
    }
    world.settled().await;
    let explained = world.run_program(&["provision", "--dry-run", &ids[1]], 0).stdout;
    assert!(explained.contains("appRoleAssignments: [\"Trainer\"]"), "{explained}");
    assert!(world.run_program(&["check"], 0).stdout.contains("every mapped attribute can be read"));

    // A second assignment whose role cannot be read: the user keeps the role that the learner has.
    world.sim.clear_journal();
    world.configure(&format!("[scope]\napp_roles = [{:?}, {:?}]\n{MAPPING}", roles[0].id, roles[1].id));
    world.sim.tenant(|tenant| tenant.unassign(&by_default));
    world.sim.tenant(|tenant| tenant.assign_user_with_role(&by_default, &roles[0].id));
    let path = "/v1.0/servicePrincipals/{id}/appRoleAssignedTo";
    world.sim.inject(Fault::on("GET", path).always().repeat_row(&by_default, "appRoleId", serde_json::Value::Null));
    let report = world.cycle().await;
    assert_eq!(report.counts, Counts { in_scope: 3, unchanged: 3, failed: 1, ..Counts::default() });
    assert_eq!(world.learner(&by_default, "job_role").await, ["Trainer"]);
    assert_eq!(world.log(&by_default).await.last().unwrap(), "update failure unreadable");
    world.sim.clear_faults();
    world.configure(MAPPING);
    assert_eq!(world.cycle().await.counts.updated, 1);

    // A second role: the first by name is used, and it is said. The same role twice is one role.
    world.sim.tenant(|tenant| {
        tenant.assign_user_with_role(&ids[1], &roles[0].id);
        tenant.assign_user_with_role(&ids[2], &roles[1].id);
    });
    let said = world.run_program(&["sync"], 0).stderr;
    assert!(said.contains("several app roles") && said.contains(&ids[1]) && !said.contains(&ids[2]), "{said}");
    assert_eq!(world.learner(&ids[1], "job_role").await, ["Learner"]);
    let explained = world.run_program(&["provision", "--dry-run", &ids[1]], 0).stdout;
    assert!(explained.contains("warning: the user has 2 app roles"), "{explained}");
    let explained = world.run_program(&["provision", "--dry-run", &ids[2]], 0).stdout;
    assert!(!explained.contains("warning"), "{explained}");
}
