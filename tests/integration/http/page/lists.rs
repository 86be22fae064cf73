//! Lists: search, pages and the download.

use super::paged;
use crate::database::{apply, on_both};
use crate::program::users;
use crate::world::World;

/// The numbers of the listed log entries, in the order of the page.
fn listed(body: &str) -> Vec<i64> {
    let cells = body.split("data-label=\"id\"><bdi class=\"short\">").skip(1);
    cells.map(|cell| cell.split('<').next().unwrap().parse().unwrap()).collect()
}

/// The address behind a link of the pager.
fn link(body: &str, name: &str) -> Option<String> {
    let end = body.find(&format!("\">{name}</a>"))?;
    let start = body[..end].rfind("href=\"").unwrap() + 6;
    Some(body[start..end].replace("&amp;", "&"))
}

#[apply(on_both)]
async fn the_log_is_searched_and_read_page_by_page() {
    let served = paged(World::start(users(2).0).await).await;
    let world = &served.world;
    let id = world.value("SELECT max(entra_id) FROM sync_links").await;
    // 250 updates, 7 failures among them.
    let row = |number: usize| {
        let (status, reason) =
            if number.is_multiple_of(40) { ("failure", "conflict") } else { ("success", "attributes-changed") };
        let day = 1 + number / 100;
        format!(
            "INSERT INTO provisioning_log (cycle_id, at, action, status, entra_id, user_name, reason, changes)
             VALUES (1, '2026-03-0{day}T08:00:00Z', 'update', '{status}', '{id}', 'former.name@example.org', '{reason}', '[]');"
        )
    };
    world.execute(&(0..250).map(row).collect::<String>()).await;
    let all: Vec<i64> = world
        .query("SELECT id FROM provisioning_log ORDER BY at DESC, id DESC")
        .await
        .into_iter()
        .map(|row| row[0].parse().unwrap())
        .collect();
    assert_eq!(all.len(), 252);
    let (mut seen, mut path) = (Vec::new(), "/log".to_owned());
    let mut paths = vec![path.clone()];
    loop {
        let body = served.page(&path).body;
        seen.extend(listed(&body));
        match link(&body, "Older") {
            Some(older) => path = older,
            None => break,
        }
        paths.push(path.clone());
    }
    assert_eq!((&seen, paths.len()), (&all, 3));
    // And back.
    let last = served.page(paths.last().unwrap()).body;
    let middle = served.page(&link(&last, "Newer").unwrap()).body;
    assert_eq!(listed(&middle), all[100..200]);
    assert_eq!(listed(&served.page(&link(&middle, "Newest").unwrap()).body), all[..100]);

    let matching = |query: &str| listed(&served.page(&format!("/log?{query}")).body).len();
    for (query, rows) in [
        ("status=failure", 7),
        ("reason=conflict&action=update", 7),
        ("action=create", 2),
        ("action=deactivate", 0),
        ("cycle=1&status=failure", 7),
        ("cycle=77", 0),
        ("user=former.name%40example.org", 100),
        ("user=FORMER.NAME%40example.org&status=failure", 7),
        ("until=2026-03-01T09%3A00%3A00Z&status=failure", 3),
        ("since=2026-03-02T00%3A00%3A00Z&until=2026-03-03T00%3A00%3A00Z&status=failure", 2),
        ("user=nobody", 0),
        ("user=&action=&status=&reason=&cycle=&since=&until=", 100),
    ] {
        assert_eq!(matching(query), rows, "{query}");
    }
    assert_eq!(matching(&format!("user={id}&status=failure")), 7);
    // The links keep the filters, and the form shows them.
    let body = served.page("/log?user=former.name%40example.org&action=update").body;
    assert!(link(&body, "Older").unwrap().starts_with("/log?user=former%2Ename%40example%2Eorg&action=update&before="));
    assert!(body.contains("value=\"former.name@example.org\""), "{body}");
    assert!(body.contains("<option value=\"update\" selected>"), "{body}");
    assert!(
        body.contains("<span class=\"whole\">former.name@example.org</span> <span class=\"whole\">--action</span>"),
        "{body}"
    );

    // The rarely used filters are folded away, unless one of them is in use.
    for (query, is_open) in [
        ("", false),
        ("?user=ada&status=held", false),
        ("?user=&action=&status=held&reason=&cycle=&since=&until=", false),
        ("?action=create", true),
        ("?status=held&since=7d", true),
        ("?until=tomorrow", true),
        ("?cycle=", false),
    ] {
        let body = served.page(&format!("/log{query}")).body;
        assert_eq!((body.matches("<details").count(), body.contains("<details open")), (1, is_open), "{query}\n{body}");
    }

    let user = served.page(&format!("/users/{id}")).body;
    assert_eq!(user.matches("<article").count(), 100);
    let later = served.page(&link(&user, "Later entries").unwrap()).body;
    assert_eq!(later.matches("<article").count(), 100);
    served.daemon.stop().await;
}

#[apply(on_both)]
async fn no_entry_is_lost_when_many_have_one_time_or_a_clock_went_back() {
    let served = paged(World::start(users(1).0).await).await;
    let world = &served.world;
    let id = world.value("SELECT entra_id FROM sync_links").await;
    // Every third row was written by a clock that was an hour late, and the others have one time.
    let row = |number: usize| {
        let hour = if number.is_multiple_of(3) { 7 } else { 8 };
        let status = if number.is_multiple_of(2) { "success" } else { "failure" };
        format!(
            "INSERT INTO provisioning_log (cycle_id, at, action, status, entra_id, reason, changes)
             VALUES (9, '2026-03-01T0{hour}:00:00Z', 'update', '{status}', '{id}', 'drift', '[]');"
        )
    };
    world.execute(&(0..450).map(row).collect::<String>()).await;
    for (filters, count) in [
        ("", 451),
        ("action=update", 450),
        ("status=failure&cycle=9", 225),
        ("since=2026-03-01T07%3A30%3A00Z&reason=drift", 300),
    ] {
        let (mut seen, mut path) = (Vec::new(), format!("/log?{filters}"));
        let last = loop {
            let body = served.page(&path).body;
            seen.extend(listed(&body));
            match link(&body, "Older") {
                Some(older) => path = older,
                None => break path,
            }
        };
        let mut backwards = listed(&served.page(&last).body);
        backwards.reverse();
        let mut body = served.page(&last).body;
        while let Some(newer) = link(&body, "Newer") {
            body = served.page(&newer).body;
            backwards.extend(listed(&body).into_iter().rev());
        }
        let distinct: std::collections::BTreeSet<&i64> = seen.iter().collect();
        assert_eq!((seen.len(), distinct.len()), (count, count), "{filters}");
        backwards.reverse();
        assert_eq!(seen, backwards, "{filters}");
    }
    served.daemon.stop().await;
}

#[apply(on_both)]
async fn rows_that_cannot_be_read_end_no_list() {
    let served = paged(World::start(users(1).0).await).await;
    let world = &served.world;
    let id = world.value("SELECT entra_id FROM sync_links").await;
    let row = format!(
        "INSERT INTO provisioning_log (cycle_id, at, action, status, entra_id, reason, changes)
         VALUES (1, '2026-03-01T08:00:00Z', 'update', 'success', '{id}', 'drift', '[]');"
    );
    world.execute(&row.repeat(250)).await;
    let cycle = "INSERT INTO sync_cycles (source, trigger, started_at) SELECT source, trigger, started_at
                 FROM sync_cycles WHERE id = 1;";
    world.execute(&cycle.repeat(150)).await;
    // On both sides of the ends of pages.
    for place in [99, 100, 199] {
        let damaged = format!("SELECT id FROM provisioning_log ORDER BY at DESC, id DESC LIMIT 1 OFFSET {place}");
        world.execute(&format!("UPDATE provisioning_log SET reason = 'nonsense' WHERE id = ({damaged})")).await;
    }
    world.execute("UPDATE sync_cycles SET trigger = 'nonsense' WHERE id IN (51, 52)").await;
    let user = format!("/users/{id}");
    for (path, next, cell, rows) in [
        ("/log", "Older", "data-label=\"id\"", 248),
        ("/cycles", "Older", "data-label=\"cycle\"", 149),
        (&*user, "Later entries", "<article", 248),
    ] {
        let (mut seen, mut path) = (0, path.to_owned());
        loop {
            let body = served.page(&path).body;
            seen += body.matches(cell).count();
            match link(&body, next) {
                Some(next) => path = next,
                None => break,
            }
        }
        assert_eq!(seen, rows, "{path}");
    }
    served.daemon.stop().await;
}

#[tokio::test]
async fn the_outcome_of_a_cycle_has_the_colour_of_its_state() {
    let served = paged(World::start(users(1).0).await).await;
    let world = &served.world;
    let classes =
        [("success", "good"), ("partial", "waits"), ("held", "waits"), ("interrupted", "waits"), ("failed", "bad")];
    for (outcome, _) in classes {
        world
            .execute(&format!(
                "INSERT INTO sync_cycles (source, trigger, started_at, finished_at, outcome)
                 SELECT source, trigger, started_at, started_at, '{outcome}' FROM sync_cycles WHERE id = 1"
            ))
            .await;
    }
    world
        .execute("INSERT INTO sync_cycles (source, trigger, started_at) SELECT source, trigger, started_at FROM sync_cycles WHERE id = 1")
        .await;
    let body = served.page("/cycles").body;
    for (outcome, class) in classes {
        let word = format!("<span class=\"outcome {class}\"><bdi class=\"short\">{outcome}</bdi></span>");
        assert!(body.contains(&word), "{word}\n{body}");
    }
    assert!(body.contains(">not ended</bdi>"), "{body}");
    served.daemon.stop().await;
}

#[apply(on_both)]
async fn the_download_equals_the_command() {
    let served = paged(World::start(users(3).0).await).await;
    let world = &served.world;
    let id = world.value("SELECT max(entra_id) FROM sync_links").await;
    let row = |number: usize| {
        format!(
            "INSERT INTO provisioning_log (cycle_id, at, action, status, entra_id, user_name, reason, detail, changes)
             VALUES (1, '2026-03-01T08:00:00Z', 'update', 'success', '{id}', '=cmd|{number}', 'attributes-changed',
                     '+1 \u{202e}\"quoted\", and\nmore', '[{{\"attribute\": \"title\", \"old\": null, \"new\": \"@SUM\"}}]');"
        )
    };
    world.execute(&(0..600).map(row).collect::<String>()).await;
    for (query, arguments) in [
        ("", vec![]),
        ("?action=create", vec!["--action", "create"]),
        ("?user=%3Dcmd%7C7&status=success", vec!["--user", "=cmd|7", "--status", "success"]),
        ("?action=deactivate", vec!["--action", "deactivate"]),
        ("?since=2026-03-01T00%3A00%3A00Z&cycle=1", vec!["--since", "2026-03-01T00:00:00Z", "--cycle", "1"]),
    ] {
        let answer = served.page(&format!("/log.csv{query}"));
        assert_eq!(answer.status, 200);
        assert!(answer.header("content-type").unwrap().starts_with("text/csv"), "{answer:?}");
        assert!(answer.header("content-disposition").unwrap().starts_with("attachment"), "{answer:?}");
        let arguments = [vec!["log", "--format", "csv"], arguments].concat();
        assert_eq!(answer.body, world.run_program(&arguments, 0).stdout, "{query}");
    }
    served.daemon.stop().await;
}
