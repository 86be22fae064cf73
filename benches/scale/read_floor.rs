//! The floor of reading: downloads and parses the pages, and does nothing with them.

use std::borrow::Cow;
use std::hint::black_box;

use anyhow::{Context as _, ensure};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use reqwest::{Client, Response};
use serde::Deserialize;
use serde_json::json;

/// Requests in flight: enough that many short lists take as long as the longest one.
const AT_ONCE: usize = 64;
const PARTS: usize = 20;
const IDS_IN_FILTER: usize = 15;
const SELECT: &str =
    "id,accountEnabled,userPrincipalName,displayName,mail,givenName,surname,jobTitle,country,employeeId,department";

#[derive(Deserialize)]
struct Page<'a, R> {
    #[serde(rename = "@odata.nextLink", borrow)]
    next: Option<Cow<'a, str>>,
    value: Vec<R>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
#[expect(dead_code, reason = "the floor reads the values and does nothing with them")]
struct Row<'a> {
    #[serde(borrow)]
    id: Cow<'a, str>,
    account_enabled: Option<bool>,
    #[serde(borrow)]
    user_principal_name: Option<Cow<'a, str>>,
    #[serde(borrow)]
    display_name: Option<Cow<'a, str>>,
    #[serde(borrow)]
    mail: Option<Cow<'a, str>>,
    #[serde(borrow)]
    given_name: Option<Cow<'a, str>>,
    #[serde(borrow)]
    surname: Option<Cow<'a, str>>,
    #[serde(borrow)]
    job_title: Option<Cow<'a, str>>,
    #[serde(borrow)]
    country: Option<Cow<'a, str>>,
    #[serde(borrow)]
    employee_id: Option<Cow<'a, str>>,
    #[serde(borrow)]
    department: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Assignment<'a> {
    #[serde(borrow)]
    principal_id: Cow<'a, str>,
    #[serde(borrow)]
    principal_type: Cow<'a, str>,
}

#[derive(Deserialize)]
struct Answers<'a> {
    #[serde(borrow)]
    responses: Vec<Answer<'a>>,
}

#[derive(Deserialize)]
struct Answer<'a> {
    #[serde(borrow)]
    body: Page<'a, Row<'a>>,
}

pub(crate) fn run(url: &str, application: &str) -> anyhow::Result<()> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(read(url, application))
}

async fn read(url: &str, application: &str) -> anyhow::Result<()> {
    let floor = Floor { client: Client::builder().build()?, root: format!("{url}/v1.0"), token: token(url).await? };
    let (mut users, mut groups) = (Vec::new(), Vec::new());
    let mut next = Some(format!("{}/servicePrincipals/{application}/appRoleAssignedTo?$top=999", floor.root));
    while let Some(link) = next {
        let body = floor.get(&link).await?;
        let page: Page<'_, Assignment<'_>> = serde_json::from_slice(&body)?;
        for Assignment { principal_id, principal_type } in page.value {
            let list = if principal_type == "Group" { &mut groups } else { &mut users };
            list.push(principal_id.into_owned());
        }
        next = page.next.map(Cow::into_owned);
    }
    let floor = &floor;
    let lists = groups.iter().map(|group| floor.read_members(group));
    let members: Vec<usize> = stream::iter(lists).buffer_unordered(AT_ONCE).try_collect().await?;
    let batches = users.chunks(IDS_IN_FILTER * PARTS).map(|users| floor.read_batch(users));
    let direct: Vec<usize> = stream::iter(batches).buffer_unordered(AT_ONCE).try_collect().await?;
    println!("{}", members.iter().chain(&direct).sum::<usize>());
    Ok(())
}

async fn token(url: &str) -> anyhow::Result<String> {
    let form = format!(
        "grant_type=client_credentials&client_id={}&client_secret={}&scope=https%3A%2F%2Fgraph.microsoft.com%2F.default",
        graph_sim::CLIENT_ID,
        graph_sim::CLIENT_SECRET
    );
    let request = Client::new().post(format!("{url}/{}/oauth2/v2.0/token", graph_sim::TENANT_ID)).body(form);
    let answer: serde_json::Value = request.send().await?.error_for_status()?.json().await?;
    Ok(answer["access_token"].as_str().context("no token")?.to_owned())
}

struct Floor {
    client: Client,
    root: String,
    token: String,
}

impl Floor {
    async fn get(&self, link: &str) -> anyhow::Result<Vec<u8>> {
        bytes(self.client.get(link).bearer_auth(&self.token).send().await?).await
    }

    async fn read_members(&self, group: &str) -> anyhow::Result<usize> {
        let mut next = Some(format!("{}/groups/{group}/members?$select={SELECT}&$top=999", self.root));
        let mut count = 0;
        while let Some(link) = next {
            let body = self.get(&link).await?;
            let page: Page<'_, Row<'_>> = serde_json::from_slice(&body)?;
            count += black_box(&page.value).len();
            next = page.next.map(Cow::into_owned);
        }
        Ok(count)
    }

    async fn read_batch(&self, users: &[String]) -> anyhow::Result<usize> {
        let parts: Vec<_> = users
            .chunks(IDS_IN_FILTER)
            .enumerate()
            .map(|(id, users)| {
                let url = format!("/users?$filter=id in ('{}')&$select={SELECT}", users.join("','"));
                json!({"id": id.to_string(), "method": "GET", "url": url})
            })
            .collect();
        let batch = self.client.post(format!("{}/$batch", self.root)).bearer_auth(&self.token);
        let body = bytes(batch.json(&json!({"requests": parts})).send().await?).await?;
        let answers: Answers<'_> = serde_json::from_slice(&body)?;
        let count = black_box(&answers.responses).iter().map(|answer| answer.body.value.len()).sum();
        ensure!(count == users.len(), "an answer has {count} of {} users", users.len());
        Ok(count)
    }
}

async fn bytes(response: Response) -> anyhow::Result<Vec<u8>> {
    Ok(response.error_for_status()?.bytes().await?.into())
}
