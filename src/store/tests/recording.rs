//! Bookkeeping, cycles and administrative actions.

use std::collections::BTreeSet;

use super::*;
use crate::model::{Cause, ClockFault, ClockFinding, Outcome, Route};
use crate::plan::{Counts, EndedHold, EndedHolds, MemberCounts};

fn at(hour: u32) -> WriteContext<'static> {
    WriteContext { at: time(&format!("2026-01-02T{hour:02}:00:00Z")), ..write_context() }
}

const FAILURES: &str = "SELECT entra_id, reason, first_at, last_at, attempts FROM sync_failures";
const HELD: &str = "SELECT entra_id, action, reason, since, approved_at, approved_by FROM sync_held";
const LOGGED: &str = "SELECT count(*) FROM provisioning_log";

on_both! {
    a_failure_keeps_its_beginning_until_its_reason_changes,
    a_failure_keeps_its_cause_and_its_drift,
    a_hold_keeps_its_beginning_and_an_approval_covers_one_action,
    bookkeeping_renews_the_generation_only_for_links,
    recent_deactivations_are_still_inactive_and_not_approved,
    administrative_actions_are_audited,
    a_cycle_closes_the_row_of_a_killed_one,
    a_process_knows_only_its_own_cycles,
}

async fn a_failure_keeps_its_beginning_until_its_reason_changes(kind: Kind) {
    let store = kind.store_with(0).await;
    let conflict = left(1, LeftAs::Failed, Reason::Conflict);
    store.record_refused_now(std::slice::from_ref(&conflict), &at(1)).await.unwrap();
    let mut goes_on = conflict;
    goes_on.effect = Effect::Leave(Leave { begins: false, ..goes_on.leave().unwrap().clone() });
    store.record_refused_now(&[goes_on], &at(2)).await.unwrap();
    let id = user(1);
    assert_eq!(select(&store, FAILURES).await, [format!("{id}|conflict|2026-01-02T01:00:00Z|2026-01-02T02:00:00Z|2")]);
    assert_eq!(select(&store, LOGGED).await, ["1"]);
    let users = store.failing_users(SOURCE).await.unwrap();
    assert_eq!(users[0].user_name.as_deref(), Some("user1"));
    assert_eq!((users[0].attempts, users[0].last_at), (2, at(2).at));

    store.record_refused_now(&[left(1, LeftAs::Failed, Reason::DatabaseError)], &at(3)).await.unwrap();
    assert_eq!(
        select(&store, FAILURES).await,
        [format!("{id}|database-error|2026-01-02T03:00:00Z|2026-01-02T03:00:00Z|1")]
    );
    assert_eq!(store.failing(SOURCE).await.unwrap()[&id].first_at, at(3).at);
}

async fn a_failure_keeps_its_cause_and_its_drift(kind: Kind) {
    let store = kind.store_with(0).await;
    let (cause, fingerprint) = (Some(Cause::AccountMissing), Some(Fingerprint([7; 16])));
    let mut waiting = left(1, LeftAs::Skipped, Reason::Waiting);
    waiting.effect = Effect::Leave(Leave { cause, ..waiting.leave().unwrap().clone() });
    let mut drifted = left(2, LeftAs::Skipped, Reason::Drift);
    drifted.effect = Effect::Leave(Leave { drift_fingerprint: fingerprint, ..drifted.leave().unwrap().clone() });
    store.record_refused_now(&[waiting, drifted], &at(1)).await.unwrap();
    let failing = store.failing(SOURCE).await.unwrap();
    assert_eq!((failing[&user(1)].cause, failing[&user(1)].drift_fingerprint), (cause, None));
    assert_eq!((failing[&user(2)].cause, failing[&user(2)].drift_fingerprint), (None, fingerprint));

    store.record_refused_now(&[left(1, LeftAs::Skipped, Reason::Waiting)], &at(2)).await.unwrap();
    assert_eq!(store.failing(SOURCE).await.unwrap()[&user(1)].cause, None);
}

async fn a_hold_keeps_its_beginning_and_an_approval_covers_one_action(kind: Kind) {
    let store = kind.store_with(1).await;
    let held = left(1, LeftAs::Held, Reason::Threshold);
    store.record_refused_now(std::slice::from_ref(&held), &at(1)).await.unwrap();
    store.record_refused_now(std::slice::from_ref(&held), &at(2)).await.unwrap();
    let shown = store.held_users(SOURCE).await.unwrap();
    let otherwise = HeldUser { reason: Reason::EmptyGroup, ..shown[0].clone() };
    assert_eq!(store.approve(SOURCE, &[otherwise], "root", at(3).at).await.unwrap(), 0, "not as shown");
    assert_eq!(store.approve(SOURCE, &shown, "root", at(3).at).await.unwrap(), 1);
    store.record_refused_now(std::slice::from_ref(&held), &at(4)).await.unwrap();
    let id = user(1);
    assert_eq!(
        select(&store, HELD).await,
        [format!("{id}|deactivate|threshold|2026-01-02T01:00:00Z|2026-01-02T03:00:00Z|root")]
    );
    assert_eq!(
        store.held_users(SOURCE).await.unwrap(),
        [HeldUser {
            entra_id: id,
            action: Action::Deactivate,
            reason: Reason::Threshold,
            change_reason: None,
            since: at(1).at,
            approved: Some((at(3).at, "root".to_owned())),
            learner: Some(LearnerId::Number(1)),
            user_name: Some("user1@example.org".to_owned()),
            routes: Some([Route::Direct].into_iter().collect()),
        }]
    );
    assert_eq!(store.held(SOURCE).await.unwrap()[&id].approved, Some((at(3).at, "root".to_owned())));

    store.record_refused_now(&[Decision { reason: Reason::EmptyGroup, ..held.clone() }], &at(5)).await.unwrap();
    assert_eq!(
        select(&store, HELD).await,
        [format!("{id}|deactivate|empty-group|2026-01-02T05:00:00Z|2026-01-02T03:00:00Z|root")]
    );
    store.record_refused_now(&[Decision { action: Action::Update, ..held }], &at(6)).await.unwrap();
    assert_eq!(select(&store, HELD).await, [format!("{id}|update|threshold|2026-01-02T06:00:00Z|-|-")]);
}

async fn bookkeeping_renews_the_generation_only_for_links(kind: Kind) {
    let store = kind.store_with(2).await;
    let (nobody, no_holds) = (BTreeSet::new(), EndedHolds::new());
    let no_groups = MemberCounts::new();
    let nothing = Bookkeeping {
        left: &[],
        failing_ended: &nobody,
        held_ended: &no_holds,
        routes: &[],
        group_members: &no_groups,
        take_over_ended: false,
    };
    let before = store.state().await.unwrap();
    assert_eq!(store.record_now(&nothing, &write_context()).await.unwrap(), None);

    let begun = [left(1, LeftAs::Skipped, Reason::MissingRequired), left(2, LeftAs::Held, Reason::Threshold)];
    let groups = MemberCounts::from([(user(8), 3), (user(9), 0)]);
    let bookkeeping = Bookkeeping { left: &begun, group_members: &groups, ..nothing };
    assert_eq!(store.record_now(&bookkeeping, &write_context()).await.unwrap(), None);
    assert_eq!(store.last_members(SOURCE).await.unwrap(), groups);
    assert_eq!(select(&store, "SELECT count(*) FROM sync_held, sync_failures").await, ["1"]);

    let ended = BTreeSet::from([user(1), user(2)]);
    let fewer = MemberCounts::from([(user(8), 2)]);
    // The first links are unchanged, so nothing is written.
    let same = [(user(1), routes(&[Route::Direct]))];
    let held = left(2, LeftAs::Held, Reason::Threshold);
    let holds = EndedHolds::from([(user(2), EndedHold { held, approved_by: Some("root".to_owned()) })]);
    let bookkeeping =
        Bookkeeping { failing_ended: &ended, held_ended: &holds, routes: &same, group_members: &fewer, ..nothing };
    assert_eq!(store.record_now(&bookkeeping, &write_context()).await.unwrap(), None);
    assert_eq!(select(&store, "SELECT count(*) FROM sync_held, sync_failures").await, ["0"]);
    let logged = "SELECT action, status, reason, detail, approved_by, phase FROM provisioning_log
                  WHERE status <> 'success' ORDER BY id";
    assert_eq!(
        select(&store, logged).await,
        [
            "deactivate|skipped|missing-required|in words|-|-",
            "deactivate|held|threshold|in words|-|begun",
            "deactivate|held|threshold|in words|root|ended",
        ]
    );
    assert_eq!(store.last_members(SOURCE).await.unwrap()[&user(8)], 2);
    assert_eq!(store.state().await.unwrap(), before);

    let moved = [(user(2), routes(&[Route::Group(user(8))]))];
    let generation = store.record_now(&Bookkeeping { routes: &moved, ..nothing }, &write_context()).await.unwrap();
    assert_eq!(generation, Some(store.state().await.unwrap().generation));
    assert_ne!(generation, Some(before.generation));
    assert_eq!(store.linked_learners(SOURCE, None, &[]).await.unwrap()[&user(2)].routes, moved[0].1);
}

async fn recent_deactivations_are_still_inactive_and_not_approved(kind: Kind) {
    let store = kind.store_with(4).await;
    store.apply_now(&batch_of(&[deactivate(user(1), 1)]), &at(1)).await.unwrap();
    let mut approved = deactivate(user(2), 2);
    approved.effect =
        Effect::Apply(RowAfter { approved_by: Some("root".to_owned()), ..approved.row_after().unwrap().clone() });
    store.apply_now(&batch_of(&[approved, deactivate(user(3), 3), deactivate(user(4), 4)]), &at(5)).await.unwrap();
    execute(&store, "UPDATE learners SET active = true WHERE id = 4").await;
    let recent = |hour| store.recently_deactivated(SOURCE, at(hour).at);
    assert_eq!((recent(1).await.unwrap(), recent(2).await.unwrap()), (2, 1));
    assert_eq!(store.recently_deactivated("another", at(1).at).await.unwrap(), 0);
}

async fn administrative_actions_are_audited(kind: Kind) {
    let store = kind.store_with(0).await;
    store.set_paused(true, "root", at(1).at).await.unwrap();
    assert!(store.state().await.unwrap().paused);
    store.set_paused(false, "root", at(2).at).await.unwrap();
    store.admit_source(SOURCE, "root", at(3).at).await.unwrap();
    store.audit("root", "reload", None, at(4).at).await.unwrap();
    store.record_refused_now(&[left(1, LeftAs::Held, Reason::Threshold)], &at(5)).await.unwrap();
    let shown = store.held_users(SOURCE).await.unwrap();
    store.approve(SOURCE, &shown, "root", at(5).at).await.unwrap();
    assert_eq!(store.state().await.unwrap().admitted_sources, BTreeSet::from([SOURCE.to_owned()]));
    let expected = [
        "2026-01-02T01:00:00Z|root|pause|-".to_owned(),
        "2026-01-02T02:00:00Z|root|resume|-".to_owned(),
        format!(r#"2026-01-02T03:00:00Z|root|approve|{{"source":"{SOURCE}"}}"#),
        "2026-01-02T04:00:00Z|root|reload|-".to_owned(),
        format!(r#"2026-01-02T05:00:00Z|root|approve|{{"released":1,"source":"{SOURCE}","users":["{}"]}}"#, user(1)),
    ];
    assert_eq!(select(&store, "SELECT at, actor, action, detail FROM audit_log").await, expected);
}

/// The end of a cycle, with each number once.
fn end() -> CycleEnd {
    CycleEnd {
        began: at(3).at,
        at: at(4).at,
        clock: Some(ClockFinding::Unknown(ClockFault::Missing)),
        outcome: Outcome::Success,
        counts: Counts {
            in_scope: 9,
            created: 1,
            updated: 2,
            deactivated: 3,
            reactivated: 4,
            unchanged: 5,
            skipped: 6,
            failed: 7,
            held: 8,
        },
        requests: 10,
        error: Some("none really".to_owned()),
        full_comparison: Some(true),
    }
}

async fn a_cycle_closes_the_row_of_a_killed_one(kind: Kind) {
    let store = kind.empty_store().await;
    let killed = store.begin_cycle(SOURCE, Trigger::Schedule, at(1).at).await.unwrap();
    let other = store.begin_cycle("another", Trigger::Startup, at(2).at).await.unwrap();
    let ahead = store.begin_cycle("tenant/configured", Trigger::Schedule, at(9).at).await.unwrap();
    let cycle = store.begin_cycle("tenant/configured", Trigger::Signal, at(2).at).await.unwrap();
    store.set_cycle_source(cycle, SOURCE, at(3).at).await.unwrap();
    // No cycle ends before it started, whatever the clocks do.
    for (killed, end) in [(killed, at(3).at), (ahead, at(9).at)] {
        let killed = store.cycle(killed).await.unwrap().unwrap();
        assert_eq!((killed.outcome, killed.finished_at), (Some(Outcome::Interrupted), Some(end)));
    }
    assert_eq!(store.cycle(other).await.unwrap().unwrap().outcome, None);

    let end = end();
    store.finish_cycle(cycle, &end).await.unwrap();
    let row = store.last_cycle(Some(SOURCE)).await.unwrap().unwrap();
    assert_eq!(
        row,
        CycleRow {
            id: cycle,
            source: SOURCE.to_owned(),
            trigger: Trigger::Signal,
            started_at: at(3).at,
            finished_at: Some(end.at),
            outcome: Some(end.outcome),
            counts: end.counts,
            requests: end.requests,
            error: end.error,
            single_user: false,
            full_comparison: Some(true),
            writer_id: Some(store.writer_id.clone()),
        }
    );
    assert_eq!(store.last_complete_cycle(SOURCE).await.unwrap(), Some(at(3).at));
    assert_eq!(store.last_complete_cycle("another").await.unwrap(), None);
    assert_eq!(store.state().await.unwrap().clock, end.clock);
    assert_eq!(store.last_success(SOURCE).await.unwrap(), Some(row.clone()));
    let only = store.begin_single_user_cycle(SOURCE, Trigger::Command, at(5).at, None).await.unwrap();
    let end = CycleEnd { full_comparison: None, error: None, ..end };
    store.finish_cycle(only, &end).await.unwrap();
    let found = store.cycle(only).await.unwrap().unwrap();
    assert_eq!((found.single_user, found.full_comparison), (true, None));
    assert_eq!(store.last_success(SOURCE).await.unwrap(), Some(row));
    assert_eq!(store.last_success("another").await.unwrap(), None);
    assert_eq!(store.sources().await.unwrap(), ["another", SOURCE, "tenant/configured"]);
}

async fn a_process_knows_only_its_own_cycles(kind: Kind) {
    let store = kind.empty_store().await;
    let cycle = store.begin_cycle(SOURCE, Trigger::Schedule, at(1).at).await.unwrap();
    assert!(store.has_cycle(cycle).await.unwrap());
    // After a failover the number may be that of another process, or of a program without writers.
    for other in ["UPDATE sync_cycles SET writer_id = 'another'", "UPDATE sync_cycles SET writer_id = NULL"] {
        execute(&store, other).await;
        let before = store.cycle(cycle).await.unwrap();
        assert!(!store.has_cycle(cycle).await.unwrap(), "{other}");
        store.set_cycle_source(cycle, "another", at(2).at).await.unwrap();
        assert!(!store.finish_cycle(cycle, &end()).await.unwrap(), "{other}");
        assert_eq!(store.cycle(cycle).await.unwrap(), before, "{other}");
    }
}
