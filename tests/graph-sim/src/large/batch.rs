//! `$batch` requests about the users of a large tenant.

use std::borrow::Cow;

use serde::Deserialize;

use super::people::People;

#[derive(Deserialize)]
struct Batch<'a> {
    #[serde(borrow)]
    requests: Vec<Part<'a>>,
}

#[derive(Deserialize)]
struct Part<'a> {
    #[serde(borrow)]
    id: Cow<'a, str>,
    #[serde(borrow)]
    url: Cow<'a, str>,
}

/// The answer; `None` when a part is not about users.
pub(super) fn answer(people: &People, body: &[u8]) -> Option<Vec<u8>> {
    let Batch { requests } = serde_json::from_slice(body).ok()?;
    let mut out = Vec::with_capacity(128 * 1024);
    out.extend_from_slice(b"{\"responses\":[");
    for (position, Part { id, url }) in requests.iter().enumerate() {
        if position > 0 {
            out.push(b',');
        }
        let (path, query) = url.trim_start_matches('/').split_once('?').unwrap_or((url, ""));
        let account = path.strip_prefix("users/").and_then(|user| people.account(user));
        let status = if path == "users" || account.is_some() { 200 } else { 404 };
        let head =
            format!(r#"{{"id":"{id}","status":{status},"headers":{{"Content-Type":"application/json"}},"body":"#);
        out.extend_from_slice(head.as_bytes());
        match account {
            Some(account) => out.extend_from_slice(&account),
            None if path == "users" => {
                out.extend_from_slice(
                    br#"{"@odata.context":"https://graph.microsoft.com/v1.0/$metadata#users","value":["#,
                );
                // The ids of the filter are in quotes.
                let ids = query.split('\'').skip(1).step_by(2);
                for (position, number) in ids.filter_map(|id| people.find(id)).enumerate() {
                    if position > 0 {
                        out.push(b',');
                    }
                    people.push_row(number, &mut out);
                }
                out.extend_from_slice(b"]}");
            }
            None if path.starts_with("users/") || path.starts_with("directory/deletedItems/") => out.extend_from_slice(
                br#"{"error":{"code":"Request_ResourceNotFound","message":"Resource does not exist."}}"#,
            ),
            None => return None,
        }
        out.push(b'}');
    }
    out.extend_from_slice(b"]}");
    Some(out)
}
