//! Fencing: a cycle writes only in the generation that it has read.

use std::collections::BTreeSet;

use super::*;
use crate::plan::{EndedHolds, MemberCounts};

on_both! {
    a_batch_is_written_only_in_its_generation,
    a_pause_stops_learners_and_links_but_not_the_bookkeeping,
    a_batch_with_a_refused_row_is_checked_again,
    bookkeeping_is_written_only_in_its_generation,
}

async fn learners(store: &Store) -> String {
    select(store, "SELECT count(*) FROM learners").await.concat()
}

async fn a_batch_is_written_only_in_its_generation(kind: Kind) {
    let store = kind.store_with(1).await;
    let fence = store.fence().await.unwrap();
    let applied = store.apply(&batch_of(&[create(user(2), "two")]), &write_context(), fence).await.unwrap();
    assert_eq!(applied.generation, store.state().await.unwrap().generation);
    assert_ne!(applied.generation, fence.generation);
    // `force` is about pauses alone.
    for force in [false, true] {
        let error =
            store.apply(&batch_of(&[create(user(3), "three")]), &write_context(), Fence { force, ..fence }).await;
        assert!(matches!(error, Err(StoreError::WrittenByOther)), "{error:?}");
        assert_eq!(error.unwrap_err().to_string(), "written by another process");
    }
    assert_eq!(learners(&store).await, "2");
    let fence = Fence { generation: applied.generation, ..fence };
    let applied = store.apply(&batch_of(&[create(user(3), "three")]), &write_context(), fence).await.unwrap();
    // Nothing is written, so the generation stays.
    let fence = Fence { generation: applied.generation, ..fence };
    let refused = store.apply(&batch_of(&[create(user(4), "three")]), &write_context(), fence).await.unwrap();
    assert_eq!((refused.refused.len(), refused.generation), (1, applied.generation));
    assert_eq!(store.state().await.unwrap().generation, applied.generation);
}

async fn a_pause_stops_learners_and_links_but_not_the_bookkeeping(kind: Kind) {
    let store = kind.store_with(1).await;
    let fence = store.fence().await.unwrap();
    store.set_paused(true, "root", noon()).await.unwrap();
    assert_eq!(store.fence().await.unwrap(), fence);
    let batch = batch_of(&[create(user(2), "two")]);
    let paused = store.apply(&batch, &write_context(), fence).await;
    assert!(matches!(paused, Err(StoreError::Paused)), "{paused:?}");
    let (nobody, no_holds, no_groups) = (BTreeSet::new(), EndedHolds::new(), MemberCounts::new());
    let moved = [(user(1), routes(&[Route::Group(user(8))]))];
    let links = Bookkeeping {
        left: &[],
        failing_ended: &nobody,
        held_ended: &no_holds,
        routes: &moved,
        group_members: &no_groups,
        take_over_ended: false,
    };
    let paused = store.record(&links, &write_context(), fence).await;
    assert!(matches!(paused, Err(StoreError::Paused)), "{paused:?}");
    let groups = MemberCounts::from([(user(8), 3)]);
    let recorded = store
        .record(&Bookkeeping { routes: &[], group_members: &groups, ..links }, &write_context(), fence)
        .await
        .unwrap();
    assert_eq!(recorded, fence.generation);
    store.record_refused(&[left(3, LeftAs::Failed, Reason::Conflict)], &write_context(), fence).await.unwrap();
    assert_eq!(store.last_members(SOURCE).await.unwrap(), groups);
    assert_eq!(learners(&store).await, "1");
    let applied = store.apply(&batch, &write_context(), Fence { force: true, ..fence }).await.unwrap();
    assert_eq!(applied.learners.len(), 1);
    assert!(store.state().await.unwrap().paused);
}

async fn a_batch_with_a_refused_row_is_checked_again(kind: Kind) {
    let store = kind.store_with(1).await;
    let fence = store.fence().await.unwrap();
    let batch = batch_of(&[create(user(2), "two"), create(user(3), "two"), create(user(4), "four")]);
    let applied = store.apply(&batch, &write_context(), fence).await.unwrap();
    assert_eq!((applied.learners.len(), applied.refused.len()), (2, 1));
    assert_eq!(applied.generation, store.state().await.unwrap().generation);
    // In another generation a row that already exists is not refused: nothing is judged.
    let again = store.apply(&batch, &write_context(), fence).await;
    assert!(matches!(again, Err(StoreError::WrittenByOther)), "{again:?}");
}

async fn bookkeeping_is_written_only_in_its_generation(kind: Kind) {
    let store = kind.store_with(1).await;
    let fence = store.fence().await.unwrap();
    store.apply(&batch_of(&[create(user(2), "two")]), &write_context(), fence).await.unwrap();
    let stale = store.record_refused(&[left(3, LeftAs::Failed, Reason::Conflict)], &write_context(), fence).await;
    assert!(matches!(stale, Err(StoreError::WrittenByOther)), "{stale:?}");
    assert_eq!(select(&store, "SELECT count(*) FROM sync_failures").await, ["0"]);
}
