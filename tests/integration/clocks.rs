//! Two clocks: that of this machine and Graph's. Either may be wrong, and neither lifts a safety limit alone.

use graph_sim::{DateHeader, Fault};
use jiff::{SignedDuration, Timestamp};
use learner_sync::model::{ClockFault, ClockFinding, Outcome};

use crate::database::{apply, on_both};
use crate::holds::{staff, unassign};
use crate::world::World;

const HOUR: SignedDuration = SignedDuration::from_hours(1);
const DAY: SignedDuration = SignedDuration::from_hours(24);

/// Ways in which Graph's clock can be unknown.
fn unknown_dates() -> Vec<(DateHeader, ClockFault)> {
    let text = |values: &[&str]| DateHeader::Text(values.iter().map(|value| (*value).to_owned()).collect());
    vec![
        (DateHeader::Missing, ClockFault::Missing),
        (DateHeader::Cached, ClockFault::Missing),
        (text(&["yesterday"]), ClockFault::Unreadable),
        (text(&["Thu, 01 Jan 1970 00:00:00 GMT"]), ClockFault::Unreadable),
        (text(&["Fri, 31 Dec 9999 23:59:59 GMT"]), ClockFault::Unreadable),
        (text(&["Wed, 04 Mar 2026 09:00:00 GMT", "Wed, 04 Mar 2026 09:00:00 GMT"]), ClockFault::Repeated),
        (text(&["Sun, 01 Mar 2026 09:00:00 GMT"]), ClockFault::BeforeLastCycle),
    ]
}

#[apply(on_both)]
async fn leavers_count_as_recent_unless_both_clocks_say_otherwise() {
    let year = DAY * 365;
    // The clock of this machine and Graph's, relative to the first deactivations; whether more are held.
    for (local, graph, holds) in
        [(DAY * 2, HOUR, true), (HOUR, DAY * 2, true), (-year, DAY * 2, true), (DAY * 2, DAY * 2, false)]
    {
        let (mut world, users) = staff(40).await;
        // Eight of forty are as many as one day allows.
        unassign(&world, &users[..8]);
        assert_eq!(world.cycle().await.counts.deactivated, 8);
        let then = world.now;
        (world.now, world.date) = (then + local, Some(DateHeader::clock(then + graph)));
        unassign(&world, &users[8..13]);
        let report = world.cycle().await;
        let counts = (report.counts.deactivated, report.counts.held);
        assert_eq!(counts, if holds { (0, 5) } else { (5, 0) }, "{local} {graph}: {}", report.summary());
        let differ = if local == graph { ClockFinding::Agree } else { ClockFinding::Differ(local - graph) };
        assert_eq!(report.time.finding(), Some(differ));
        // Rows have Graph's time.
        let recorded = format!("{:.0}", then + graph);
        assert_eq!(world.value("SELECT started_at FROM sync_cycles ORDER BY id DESC LIMIT 1").await, recorded);
        assert_eq!(world.value("SELECT count(*) FROM sync_cycles WHERE finished_at < started_at").await, "0");
    }
}

#[apply(on_both)]
async fn nothing_elapses_while_graphs_clock_is_unknown() {
    let (mut world, users) = staff(5).await;
    world.configure("[safety]\ndeactivate_after = \"1h\"");
    unassign(&world, &users[..1]);
    world.cycle().await;
    for (date, fault) in unknown_dates() {
        world.pass(DAY * 2);
        world.date = Some(date);
        let report = world.settled().await;
        assert_eq!(report.time.finding(), Some(ClockFinding::Unknown(fault)));
        assert_eq!((report.outcome, report.counts.skipped), (Outcome::Success, 1), "{fault}");
    }
    // The first answers have the right date, and later ones another.
    world.date = None;
    world.pass(DAY * 2);
    let later = DateHeader::clock(world.now + HOUR);
    world.sim.inject(Fault::on("GET", "/v1.0/servicePrincipals/{id}/appRoleAssignedTo").always().dated(later));
    let report = world.settled().await;
    assert_eq!(report.time.finding(), Some(ClockFinding::Unknown(ClockFault::Contradictory)));
    assert_eq!(report.counts.skipped, 1);
    world.sim.clear_faults();
    assert_eq!(world.cycle().await.counts.deactivated, 1);
}

/// The answers of one cycle may differ by a few minutes. Every one of them must say that the time has passed.
#[apply(on_both)]
async fn a_wait_ends_and_a_deactivation_is_old_only_by_the_earliest_answer() {
    const APPLICATION: &str = "/v1.0/servicePrincipals/{id}";
    const ASSIGNMENTS: &str = "/v1.0/servicePrincipals/{id}/appRoleAssignedTo";
    let minute = SignedDuration::from_mins(1);
    for path in [APPLICATION, ASSIGNMENTS] {
        let (mut world, users) = staff(40).await;
        world.configure("[safety]\ndeactivate_after = \"24h\"");
        unassign(&world, &users[..8]);
        let then = world.now;
        world.cycle().await;
        // By the clock of this machine, days have passed.
        let answers = |world: &mut World, minutes: i32| {
            world.sim.clear_faults();
            let earliest = then + minute * (minutes - 2);
            (world.now, world.date) = (then + DAY * 9, Some(DateHeader::clock(earliest)));
            let date = DateHeader::clock(earliest + minute * 4);
            world.sim.inject(Fault::on("GET", path).always().dated(date));
        };
        answers(&mut world, 24 * 60);
        assert_eq!(world.cycle().await.counts.skipped, 8, "{path}");
        answers(&mut world, 25 * 60);
        assert_eq!(world.cycle().await.counts.deactivated, 8, "{path}");
        // Another five would be too many within 24 hours.
        world.configure("");
        unassign(&world, &users[8..13]);
        answers(&mut world, 49 * 60 + 1);
        assert_eq!(world.cycle().await.counts.held, 5, "{path}");
    }
}

#[apply(on_both)]
async fn every_logged_deactivation_counts_while_graphs_clock_is_unknown() {
    let (mut world, users) = staff(40).await;
    unassign(&world, &users[..8]);
    assert_eq!(world.cycle().await.counts.deactivated, 8);
    world.pass(DAY * 30);
    world.date = Some(DateHeader::Missing);
    unassign(&world, &users[8..13]);
    assert_eq!(world.cycle().await.counts.held, 5);
    let detail = world.last_detail(&users[8]).await;
    assert!(detail.contains("5 deactivations now and 8 at any time (Graph's clock is unknown"), "{detail}");
    assert!(!detail.contains("24 hours"), "{detail}");
}

#[apply(on_both)]
async fn an_approval_is_good_for_a_day_by_both_clocks() {
    let (mut world, users) = staff(20).await;
    world.configure("[safety]\nmax_deactivations = 1");
    unassign(&world, &users[..3]);
    assert_eq!(world.cycle().await.counts.held, 3);
    let approved = world.now;
    assert_eq!(world.approve().await, 3);
    let minute = SignedDuration::from_mins(1);
    // Otherwise a cycle in the future makes the next ones doubt Graph's date.
    let forget = format!("UPDATE sync_cycles SET started_at = '{:.0}'", approved - HOUR);
    // The clocks since the approval.
    for (local, graph) in [
        (DAY * 2, HOUR),
        (HOUR, DAY * 2),
        (-HOUR, HOUR),
        (HOUR, minute * -6),
        (DAY + minute * 6, HOUR),
        (-DAY * 365, HOUR),
    ] {
        (world.now, world.date) = (approved + local, Some(DateHeader::clock(approved + graph)));
        let report = world.cycle().await;
        assert_eq!(report.counts.held, 3, "{local} {graph}");
        assert_eq!(report.time.finding(), Some(ClockFinding::Differ(local - graph)));
        world.execute(&forget).await;
    }
    for (date, _) in unknown_dates() {
        (world.now, world.date) = (approved + HOUR, Some(date));
        assert_eq!(world.cycle().await.counts.held, 3);
        world.execute(&forget).await;
    }
    (world.now, world.date) = (approved + minute * -4, Some(DateHeader::clock(approved + DAY + minute * 4)));
    let report = world.cycle().await;
    assert_eq!((report.counts.deactivated, report.counts.held), (3, 0), "{}", report.summary());
}

#[apply(on_both)]
async fn a_wait_that_began_in_the_future_begins_now() {
    let (mut world, users) = staff(5).await;
    world.configure("[safety]\ndeactivate_after = \"1h\"");
    unassign(&world, &users[..1]);
    world.cycle().await;
    world.execute("UPDATE sync_failures SET first_at = '2027-03-02T08:00:00Z'").await;
    let now = format!("{:.0}", world.now);
    assert_eq!(world.cycle().await.counts.skipped, 1);
    assert_eq!(world.value("SELECT first_at FROM sync_failures").await, now);
    assert_eq!(world.cycle().await.counts.skipped, 1);
    assert_eq!(world.cycle().await.counts.deactivated, 1);
}

/// A cycle without Graph's time follows one that had it: what it records never seems older than it is.
#[apply(on_both)]
async fn a_clock_that_goes_back_does_not_age_what_it_records() {
    let (mut world, users) = staff(40).await;
    let right = world.now;
    unassign(&world, &users[..8]);
    (world.now, world.date) = (right - DAY * 365, Some(DateHeader::Missing));
    assert_eq!(world.cycle().await.counts.deactivated, 8);
    (world.now, world.date) = (right + HOUR, None);
    unassign(&world, &users[8..13]);
    assert_eq!(world.cycle().await.counts.held, 5);
    // The same with a date of Graph that lies in the past.
    let (mut world, users) = staff(40).await;
    let right = world.now;
    unassign(&world, &users[..8]);
    (world.now, world.date) = (right, Some(DateHeader::clock(right - DAY * 365)));
    assert_eq!(world.cycle().await.counts.deactivated, 8);
    (world.now, world.date) = (right + HOUR, None);
    unassign(&world, &users[8..13]);
    assert_eq!(world.cycle().await.counts.held, 5);
}

/// The same application under its other id has the same last cycle.
#[apply(on_both)]
async fn an_earlier_date_is_doubted_under_another_id_of_the_application() {
    let (mut world, _) = staff(5).await;
    let right = world.now;
    let (tenant, client, id) = world
        .sim
        .tenant(|tenant| (tenant.tenant_id.clone(), tenant.client_id.clone(), tenant.application.app_id.clone()));
    world.configure_for(&tenant, &client, &id, "");
    (world.now, world.date) = (right - DAY, Some(DateHeader::clock(right - DAY)));
    let report = world.cycle().await;
    assert_eq!(report.time.finding(), Some(ClockFinding::Unknown(ClockFault::BeforeLastCycle)));
}

#[apply(on_both)]
async fn a_cycle_recorded_in_the_future_delays_the_rules_by_one_cycle() {
    let (mut world, users) = staff(5).await;
    world.configure("[safety]\ndeactivate_after = \"1h\"");
    unassign(&world, &users[..1]);
    world.cycle().await;
    world
        .execute("UPDATE sync_cycles SET started_at = '2027-03-02T08:00:00Z', finished_at = '2027-03-02T08:00:01Z'")
        .await;
    world.pass(DAY);
    let report = world.cycle().await;
    assert_eq!(report.time.finding(), Some(ClockFinding::Unknown(ClockFault::BeforeLastCycle)));
    assert_eq!(report.counts.skipped, 1);
    let report = world.cycle().await;
    assert_eq!((report.time.finding(), report.counts.deactivated), (Some(ClockFinding::Agree), 1));
}

#[tokio::test]
async fn the_log_expires_by_both_clocks() {
    let (mut world, _) = staff(3).await;
    let rows = async |world: &World| world.value("SELECT count(*) FROM provisioning_log").await;
    // March is long ago by the real clock, but not by Graph's.
    let march: Timestamp = "2026-03-02T09:00:00Z".parse().unwrap();
    for date in [DateHeader::Missing, DateHeader::clock(march)] {
        world.date = Some(date);
        world.run_program(&["sync"], 0);
        assert_eq!(rows(&world).await, "3");
    }
    world.date = None;
    // The first cycle finds Graph's date before the last cycle, if that recorded the real time.
    world.run_program(&["sync"], 0);
    world.run_program(&["sync"], 0);
    assert_eq!(rows(&world).await, "0");
}
