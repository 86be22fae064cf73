//! A cluster of two PostgreSQL nodes under Patroni, with etcd. Where this process may create network namespaces, each node
//! has one, and can be cut off.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::postgres::{OWNER, Server, programs, scratch, signal, unprivileged};

/// How long one answer of Patroni may take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);
const ETCD_PORT: u16 = 2379;

/// The way in which a node is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Loss {
    /// The server is killed; Patroni survives.
    Killed,
    /// The server and Patroni are killed.
    MachineKilled,
    /// The other node takes over in an orderly way.
    SwitchedOver,
    /// The node has no network at all.
    CutOff,
    /// The node reaches neither etcd nor the other node, but programs reach it.
    Isolated,
}

pub(super) struct Node {
    name: &'static str,
    /// The address within the cluster.
    cluster_ip: String,
    /// The address for programs.
    service_ip: String,
    patroni_port: u16,
    pub(super) server: &'static Server,
    patroni: Option<Child>,
}

pub(super) struct Cluster {
    directory: PathBuf,
    /// User and group id of the nodes, because PostgreSQL does not run as root.
    user: Option<(u32, u32)>,
    has_namespaces: bool,
    etcd: Child,
    pub(super) nodes: [Node; 2],
}

impl Cluster {
    /// Starts a cluster; `None` without the programs.
    pub(super) fn start() -> Option<Self> {
        let found = |program: &str| Command::new(program).arg("--version").output().is_ok();
        if programs().is_none() || !found("etcd") || !found("patroni") {
            let message = "SKIPPED: PostgreSQL, Patroni or etcd is not installed";
            let _ = writeln!(std::io::stderr(), "{message}");
            return None;
        }
        let directory = scratch().keep();
        let user = unprivileged(&directory);
        delete_namespaces();
        let has_namespaces = create_namespaces();
        if !has_namespaces {
            let message = "SKIPPED: no primary is cut off, because network namespaces are not allowed here";
            let _ = writeln!(std::io::stderr(), "{message}");
        }
        let host = if has_namespaces { "10.77.77.1" } else { "127.0.0.1" };
        let etcd = start_etcd(&directory, host);
        let nodes = [("one", 0), ("two", 1)].map(|(name, number)| Node::new(&directory, name, number, has_namespaces));
        for node in &nodes {
            fs::write(directory.join(format!("{}.yml", node.name)), node.configuration(&directory, host)).unwrap();
        }
        let mut cluster = Self { directory, user, has_namespaces, etcd, nodes };
        (0..2).for_each(|position| cluster.start_patroni(position));
        Some(cluster)
    }

    /// The kinds of losses that are possible here.
    pub(super) fn losses(&self) -> &'static [Loss] {
        const ALL: [Loss; 5] = [Loss::Killed, Loss::SwitchedOver, Loss::CutOff, Loss::Isolated, Loss::MachineKilled];
        const WITHOUT_NETWORK: [Loss; 3] = [Loss::Killed, Loss::SwitchedOver, Loss::MachineKilled];
        if self.has_namespaces { &ALL } else { &WITHOUT_NETWORK }
    }

    /// The URL of a database on both nodes.
    pub(super) fn url(&self, database: &str) -> String {
        let hosts = self.nodes.each_ref().map(|node| format!("{}:{}", node.service_ip, node.server.port()));
        format!("postgres://{OWNER}@{}/{database}?target_session_attrs=read-write", hosts.join(","))
    }

    /// The node with the leader key.
    pub(super) fn leader(&self) -> Option<usize> {
        (0..2).find(|position| self.nodes[*position].is("primary"))
    }

    /// The leader, if the other node follows it.
    pub(super) fn healthy_leader(&self, synchronous: bool) -> Option<usize> {
        let leader = self.leader()?;
        let role = if synchronous { "synchronous" } else { "asynchronous" };
        self.nodes[1 - leader].is(role).then_some(leader)
    }

    pub(super) fn replicate_synchronously(&self, synchronous: bool) {
        let setting = format!("synchronous_mode={synchronous}");
        self.patronictl(&["edit-config", "learners", "--force", "--quiet", "--set", &setting]);
    }

    /// Makes the cluster lose its leader.
    pub(super) fn lose(&mut self, leader: usize, loss: Loss) {
        let node = &mut self.nodes[leader];
        match loss {
            Loss::Killed => signal("-KILL", &node.server.pid()),
            Loss::MachineKilled => {
                let pid = node.server.pid();
                if let Some(mut patroni) = node.patroni.take() {
                    patroni.kill().unwrap();
                    patroni.wait().unwrap();
                }
                signal("-KILL", &pid);
            }
            Loss::SwitchedOver => self.patronictl(&["switchover", "learners", "--force"]),
            Loss::CutOff => {
                set_link("lsb", node.name, "down");
                set_link("lss", node.name, "down");
            }
            Loss::Isolated => set_link("lsb", node.name, "down"),
        }
    }

    /// Repairs what [`Self::lose`] has broken.
    pub(super) fn repair(&mut self, node: usize, loss: Loss) {
        match loss {
            Loss::Killed | Loss::SwitchedOver => {}
            Loss::MachineKilled => self.start_patroni(node),
            Loss::CutOff | Loss::Isolated => {
                set_link("lsb", self.nodes[node].name, "up");
                set_link("lss", self.nodes[node].name, "up");
            }
        }
    }

    fn start_patroni(&mut self, position: usize) {
        let file = self.directory.join(format!("{}.yml", self.nodes[position].name));
        let node = &mut self.nodes[position];
        let log = fs::OpenOptions::new().create(true).append(true).open(self.directory.join(node.name).join("log"));
        let log = log.unwrap();
        let mut words: Vec<String> = Vec::new();
        if self.has_namespaces {
            words.extend(["ip", "netns", "exec", &namespace(node.name)].map(str::to_owned));
        }
        if let Some((user, group)) = self.user {
            words.extend(["setpriv", "--clear-groups"].map(str::to_owned));
            words.extend([format!("--reuid={user}"), format!("--regid={group}")]);
        }
        words.push("patroni".to_owned());
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).arg(file).current_dir(&self.directory).env("HOME", &self.directory);
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        node.patroni = Some(command.spawn().unwrap());
    }

    fn patronictl(&self, arguments: &[&str]) {
        let mut command = Command::new("patronictl");
        command.arg("--config-file").arg(self.directory.join("one.yml")).args(arguments);
        let output = command.env("LC_ALL", "C.UTF-8").stdin(Stdio::null()).output().unwrap();
        // The leader may change at the same time.
        if !output.status.success() {
            let _ = writeln!(std::io::stderr(), "patronictl {arguments:?}: {output:?}");
        }
    }

    /// The last lines of the logs.
    pub(super) fn logs(&self) -> String {
        let last = |node: &Node| {
            let text = fs::read_to_string(self.directory.join(node.name).join("log")).unwrap_or_default();
            let lines: Vec<&str> = text.lines().collect();
            format!("{}:\n{}\n", node.name, lines[lines.len().saturating_sub(30)..].join("\n"))
        };
        self.nodes.iter().map(last).collect()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for node in &mut self.nodes {
            if let Some(mut patroni) = node.patroni.take() {
                let _ = patroni.kill();
                let _ = patroni.wait();
            }
            if node.server.is_running() {
                signal("-QUIT", &node.server.pid());
            }
        }
        let _ = self.etcd.kill();
        let _ = self.etcd.wait();
        if self.has_namespaces {
            delete_namespaces();
        }
        let _ = fs::remove_dir_all(&self.directory);
    }
}

impl Node {
    fn new(directory: &Path, name: &'static str, number: u16, has_namespaces: bool) -> Self {
        let own = directory.join(name);
        fs::create_dir(&own).unwrap();
        let (cluster_ip, service_ip, port, patroni_port) = if has_namespaces {
            (format!("10.77.77.{}", number + 2), format!("10.77.{}.2", number + 78), 5432, 8008)
        } else {
            ("127.0.0.1".to_owned(), "127.0.0.1".to_owned(), 15432 + number, 18008 + number)
        };
        let server = Server::run_by_others(&own, port);
        Self { name, cluster_ip, service_ip, patroni_port, server, patroni: None }
    }

    fn configuration(&self, directory: &Path, etcd: &str) -> String {
        let Self { name, cluster_ip, patroni_port, server, .. } = self;
        let (port, own, programs) = (server.port(), directory.join(name), programs().unwrap());
        format!(
            "scope: learners
name: {name}
restapi: {{listen: '0.0.0.0:{patroni_port}', connect_address: '{cluster_ip}:{patroni_port}'}}
etcd3: {{host: '{etcd}:{ETCD_PORT}'}}
watchdog: {{mode: 'off'}}
bootstrap:
  dcs:
    ttl: 10
    loop_wait: 1
    retry_timeout: 3
    master_start_timeout: 0
    synchronous_mode: true
    postgresql: {{use_pg_rewind: true}}
  initdb: [encoding: UTF8, locale: C.UTF-8, no-sync]
postgresql:
  listen: '0.0.0.0:{port}'
  connect_address: '{cluster_ip}:{port}'
  data_dir: {}
  bin_dir: {}
  pgpass: {}
  authentication:
    superuser: {{username: {OWNER}, password: secret}}
    replication: {{username: {OWNER}, password: secret}}
  parameters:
    unix_socket_directories: {}
    wal_log_hints: 'on'
    fsync: 'off'
    max_connections: 100
    jit: 'off'
    wal_keep_size: 512MB
  pg_hba: ['local all all trust', 'host all all 0.0.0.0/0 trust', 'host replication all 0.0.0.0/0 trust']
",
            own.join("data").display(),
            programs.display(),
            own.join("pgpass").display(),
            own.display(),
        )
    }

    /// Whether Patroni says that the node has this role.
    fn is(&self, role: &str) -> bool {
        let asked = || {
            let address: SocketAddr = format!("{}:{}", self.cluster_ip, self.patroni_port).parse().ok()?;
            let mut stream = TcpStream::connect_timeout(&address, ANSWER_TIMEOUT).ok()?;
            stream.set_read_timeout(Some(ANSWER_TIMEOUT)).ok()?;
            write!(stream, "GET /{role} HTTP/1.0\r\n\r\n").ok()?;
            let mut first = [0; 12];
            stream.read_exact(&mut first).ok()?;
            Some(first.ends_with(b" 200"))
        };
        asked() == Some(true)
    }
}

fn start_etcd(directory: &Path, host: &str) -> Child {
    let (clients, peers) = (format!("http://{host}:{ETCD_PORT}"), "http://127.0.0.1:23800");
    let log = fs::File::create(directory.join("etcd.log")).unwrap();
    let mut command = Command::new("etcd");
    command.arg("--data-dir").arg(directory.join("etcd"));
    command.args(["--listen-client-urls", &clients, "--advertise-client-urls", &clients]);
    command.args(["--listen-peer-urls", peers, "--initial-advertise-peer-urls", peers]);
    command.args(["--initial-cluster", &format!("default={peers}")]);
    command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap()
}

fn namespace(node: &str) -> String {
    format!("ls-{node}")
}

fn ip(arguments: &str) -> bool {
    let output = Command::new("ip").args(arguments.split(' ')).output();
    output.is_ok_and(|output| output.status.success())
}

fn set_link(kind: &str, node: &str, state: &str) {
    assert!(ip(&format!("link set {kind}-{node} {state}")), "{kind}-{node} {state}");
}

/// A namespace for each node: `lsb` leads to a bridge that connects the cluster, `lss` to the programs.
fn create_namespaces() -> bool {
    let mut commands = vec![
        "link add lsbridge type bridge".to_owned(),
        "addr add 10.77.77.1/24 dev lsbridge".to_owned(),
        "link set lsbridge up".to_owned(),
    ];
    for (number, node) in ["one", "two"].into_iter().enumerate() {
        let (space, own, service) = (namespace(node), number + 2, number + 78);
        commands.extend([
            format!("netns add {space}"),
            format!("-n {space} link set lo up"),
            format!("link add lsb-{node} type veth peer name cluster netns {space}"),
            format!("link set lsb-{node} master lsbridge up"),
            format!("-n {space} addr add 10.77.77.{own}/24 dev cluster"),
            format!("-n {space} link set cluster up"),
            format!("link add lss-{node} type veth peer name service netns {space}"),
            format!("addr add 10.77.{service}.1/24 dev lss-{node}"),
            format!("link set lss-{node} up"),
            format!("-n {space} addr add 10.77.{service}.2/24 dev service"),
            format!("-n {space} link set service up"),
        ]);
    }
    let created = commands.iter().all(|command| ip(command));
    if !created {
        delete_namespaces();
    }
    created
}

/// Their links vanish with them.
fn delete_namespaces() {
    for node in ["one", "two"] {
        ip(&format!("netns del {}", namespace(node)));
        ip(&format!("link del lsb-{node}"));
        ip(&format!("link del lss-{node}"));
    }
    ip("link del lsbridge");
}
