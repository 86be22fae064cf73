//! Scoping filters over several cycles: users leave the scope and return.

use graph_sim::{Fault, Tenant};
use learner_sync::model::Outcome;
use learner_sync::plan::Counts;

use crate::database::{apply, on_both};
use crate::world::{World, assigned};

const SALES: &str = "[[scope.filter]]\nname = \"sales\"\n\
    clauses = [{ attribute = \"department\", operator = \"EQUALS\", value = \"Sales\" }]\n";

async fn sales_department(count: usize) -> (World, Vec<String>) {
    let mut tenant = Tenant::default();
    let ids = assigned(&mut tenant, count);
    ids.iter().for_each(|id| tenant.user_mut(id).department = Some("Sales".to_owned()));
    let world = World::start(tenant).await;
    world.configure(SALES);
    (world, ids)
}

fn move_to(world: &World, ids: &[String], department: Option<&str>) {
    let department = department.map(str::to_owned);
    world.sim.tenant(|tenant| ids.iter().for_each(|id| tenant.user_mut(id).department.clone_from(&department)));
}

#[apply(on_both)]
async fn users_out_of_scope_are_deactivated_and_can_return() {
    let (mut world, ids) = sales_department(8).await;
    move_to(&world, &ids[7..], Some("Research"));
    assert_eq!(world.cycle().await.counts, Counts { in_scope: 7, created: 7, skipped: 1, ..Counts::default() });

    move_to(&world, &ids[..1], Some("Research"));
    // Null does not match the filter either.
    move_to(&world, &ids[1..2], None);
    let report = world.cycle().await;
    assert_eq!(report.counts, Counts { in_scope: 5, deactivated: 2, unchanged: 5, skipped: 1, ..Counts::default() });
    for id in &ids[..2] {
        assert_eq!(world.log(id).await, ["create success assigned", "deactivate success out-of-scope"]);
        // A deactivated learner gets no other change.
        assert_eq!(world.learner(id, "active, department").await, ["0", "Sales"]);
    }
    world.settled().await;
    move_to(&world, &ids[..2], Some("Sales"));
    assert_eq!(world.cycle().await.counts.reactivated, 2);
    assert_eq!(world.log(&ids[0]).await.last().unwrap(), "reactivate success reassigned");
    world.settled().await;
}

#[apply(on_both)]
async fn a_changed_filter_is_planned_and_limited() {
    let (mut world, ids) = sales_department(30).await;
    world.cycle().await;
    move_to(&world, &ids[..20], Some("Research"));
    world.configure(&format!("{SALES}{}", SALES.replace("sales", "research").replace("Sales", "Research")));
    assert_eq!(world.cycle().await.counts.updated, 20);
    world.settled().await;

    world.configure(SALES);
    let plan = world.run_program(&["plan", "--json"], 0).json();
    let lines = plan["changes"].as_array().unwrap();
    assert_eq!(lines.len(), 20);
    assert!(lines.iter().all(|line| line["status"] == "held" && line["action"] == "deactivate"), "{plan}");
    let report = world.cycle().await;
    assert_eq!((report.outcome, report.counts.held, report.counts.deactivated), (Outcome::Held, 20, 0));
    assert_eq!(world.log(&ids[0]).await.last().unwrap(), "deactivate held threshold");
}

#[apply(on_both)]
async fn a_missing_value_does_not_put_users_out_of_scope() {
    let mut tenant = Tenant::default();
    let ids = assigned(&mut tenant, 3);
    for id in &ids {
        tenant.user_mut(id).employee_org_data = Some(graph_sim::EmployeeOrgData {
            division: Some("North".to_owned()),
            ..graph_sim::EmployeeOrgData::default()
        });
    }
    let mut world = World::start(tenant).await;
    world.configure(
        "[[scope.filter]]\nclauses = [{ attribute = \"employeeOrgData.division\", operator = \"EQUALS\", value = \"North\" }]",
    );
    assert_eq!(world.cycle().await.counts.created, 3);
    world.sim.inject(Fault::on("GET", "/v1.0/users/**").always().drop_key("employeeOrgData"));
    let report = world.cycle().await;
    assert_eq!((report.counts.deactivated, report.counts.failed), (0, 3));
    assert_eq!(world.log(&ids[0]).await.last().unwrap(), "update failure unreadable");
    world.sim.clear_faults();
    assert_eq!(world.cycle().await.outcome, Outcome::Success);
    world.settled().await;
}
