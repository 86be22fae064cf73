//! The simulator as a program: serves a populated tenant on a loopback port until Ctrl-C or SIGTERM.

use std::fs::{File, Permissions};
use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use clap::Parser;
use graph_sim::{GraphSim, Tenant};
use tokio::signal::unix::{SignalKind, signal};

/// Serves a simulated Entra tenant on loopback: the token endpoint, tokens for managed identities, Microsoft Graph
/// and a control API.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// Number of users in the tenant.
    #[arg(long, default_value_t = 500)]
    users: usize,
    /// Port on 127.0.0.1; 0 picks a free one.
    #[arg(long, default_value_t = 8080)]
    port: u16,
    /// Seed of the generated users.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Lifetime of a token, in seconds.
    #[arg(long, default_value_t = 3599)]
    token_lifetime: u32,
    /// File to write the client secret to, readable only by its owner.
    #[arg(long)]
    secret_file: Option<PathBuf>,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> io::Result<()> {
    let Arguments { users, port, seed, token_lifetime, secret_file } = Arguments::parse();
    let mut tenant = Tenant::with_users(users, seed);
    tenant.token_lifetime_seconds = token_lifetime;
    if let Some(path) = &secret_file {
        write_secret(path, &tenant.client_secret)?;
    }
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let sim = GraphSim::start_on(tenant, SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port))?;
    print_instructions(&sim, secret_file.as_deref());
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    Ok(())
}

fn write_secret(path: &Path, secret: &str) -> io::Result<()> {
    let mut file = File::create(path)?;
    // Restrict the file before it contains the secret; it may exist with other permissions.
    file.set_permissions(Permissions::from_mode(0o600))?;
    file.write_all(secret.as_bytes())
}

#[expect(clippy::print_stdout, reason = "the instructions for using the simulator")]
fn print_instructions(sim: &GraphSim, secret_file: Option<&Path>) {
    let url = sim.url();
    let (tenant_id, client_id, secret, application, users) = sim.tenant(|tenant| {
        (
            tenant.tenant_id.clone(),
            tenant.client_id.clone(),
            tenant.client_secret.clone(),
            tenant.application.object_id.clone(),
            tenant.users().count(),
        )
    });
    let credential = match secret_file {
        Some(path) => format!("[entra.credential]\nkind = \"client-secret\"\nsecret_file = {path:?}"),
        None => format!("# Set in the environment: LEARNER_SYNC_CLIENT_SECRET='{secret}'"),
    };
    println!(
        "Simulated tenant with {users} users.

tenant id           {tenant_id}
client id           {client_id}
client secret       {secret}
enterprise app      {application}
authority           {url}
token endpoint      {url}/{tenant_id}/oauth2/v2.0/token
managed identity    {url}/metadata/identity/oauth2/token
Graph               {url}/v1.0

For learner-sync.toml:

[entra]
tenant_id = \"{tenant_id}\"
client_id = \"{client_id}\"
authority_url = \"{url}\"
graph_url = \"{url}\"

{credential}

[app]
enterprise_app = \"{application}\"

Inspect and change the tenant:

curl {url}/control/summary
curl '{url}/control/users?limit=5'
curl {url}/control/users -d '{{\"givenName\": \"Ada\", \"surname\": \"Lovelace\", \"department\": \"Research\", \"assign\": true}}'
curl -X PATCH {url}/control/users/ada.lovelace@harbourworks.example -d '{{\"accountEnabled\": false, \"jobTitle\": null}}'
curl -X DELETE {url}/control/users/ada.lovelace@harbourworks.example
curl -X POST {url}/control/users/USER-ID/restore
curl -X POST {url}/control/users/USER-ID/recreate
curl -X POST {url}/control/application/recreate
curl {url}/control/groups
curl -X POST {url}/control/groups/GROUP-ID/members/USER-ID
curl {url}/control/assignments -d '{{\"principal\": \"GROUP-ID\"}}'
curl -X DELETE {url}/control/assignments/PRINCIPAL-ID
curl {url}/control/permissions -d '{{\"revoke\": [\"User.Read.All\"]}}'; curl -X DELETE {url}/control/tokens
curl {url}/control/faults -d '{{\"path\": \"/v1.0/groups/{{id}}/members\", \"page\": 2, \"times\": 3, \"status\": 503}}'
curl {url}/control/faults -d '{{\"method\": \"*\", \"path\": \"/v1.0/**\", \"random\": {{\"probability\": 0.3}}}}'
curl -X DELETE {url}/control/faults
curl {url}/control/journal

Press Ctrl-C to stop."
    );
}
