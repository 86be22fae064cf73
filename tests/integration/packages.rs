//! The packages: units, maintainer scripts and the lists of files.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn unit(name: &str) -> Vec<String> {
    let text = fs::read_to_string(root().join("systemd").join(name)).unwrap();
    text.lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect()
}

#[test]
fn the_unit_of_several_tenants_differs_in_its_instance_only() {
    let (single, instance) = (unit("learner-sync.service"), unit("learner-sync@.service"));
    assert_eq!(single.len(), instance.len());
    let differing: Vec<(&str, &str)> = single
        .iter()
        .zip(&instance)
        .filter(|(one, other)| one != other)
        .map(|(one, other)| (&**one, &**other))
        .collect();
    let names: Vec<&str> = differing.iter().map(|(one, _)| one.split('=').next().unwrap()).collect();
    assert_eq!(names, ["Description", "ExecStart", "StateDirectory"]);
    for (one, other) in differing {
        assert!(other.contains("%i"), "{other}");
        let plain = other.replace(" (%i)", "").replace(" --config /etc/learner-sync/%i.toml", "").replace("/%i", "");
        assert_eq!(one, plain);
    }
}

#[test]
fn packages_contain_files_that_exist() {
    let manifest: toml::Table = fs::read_to_string(root().join("Cargo.toml")).unwrap().parse().unwrap();
    let metadata = &manifest["package"]["metadata"];
    let deb = metadata["deb"]["assets"].as_array().unwrap().iter().map(|asset| asset[0].as_str().unwrap());
    let rpm = metadata["generate-rpm"]["assets"].as_array().unwrap();
    let rpm: Vec<&str> = rpm.iter().map(|asset| asset["source"].as_str().unwrap()).collect();
    // cargo-deb strips the program itself.
    let stripped =
        |source| if source == "target/release/learner-sync" { "target/package/learner-sync" } else { source };
    assert_eq!(deb.map(stripped).collect::<Vec<_>>(), rpm);
    for source in rpm.iter().filter(|source| !source.starts_with("target/")) {
        assert!(root().join(source).is_file(), "{source}");
    }
    for script in ["post_install_script", "pre_uninstall_script", "post_uninstall_script"] {
        let path = root().join(metadata["generate-rpm"][script].as_str().unwrap());
        assert!(path.is_file(), "{}", path.display());
    }
}

/// A machine of its own for a maintainer script, whose commands only record their arguments.
struct Machine {
    directory: TempDir,
}

impl Machine {
    fn new() -> Self {
        let machine = Self { directory: TempDir::new().unwrap() };
        fs::create_dir(machine.path("bin")).unwrap();
        for name in ["systemd-sysusers", "systemd-tmpfiles", "systemctl", "deb-systemd-invoke"] {
            let log = machine.path("log");
            let script = format!(
                "#!/bin/sh\necho \"{name} $*\" >> {}\ncase \"$*\" in *list-units*) echo 'learner-sync@a.service loaded' ;; esac\n",
                log.display()
            );
            fs::write(machine.path("bin").join(name), script).unwrap();
            fs::set_permissions(machine.path("bin").join(name), fs::Permissions::from_mode(0o755)).unwrap();
        }
        machine
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// The commands that a script ran.
    fn run(&self, script: &str, arguments: &[&str]) -> Vec<String> {
        let _ = fs::remove_file(self.path("log"));
        let path = format!("{}:/usr/bin:/bin", self.path("bin").display());
        // The scripts look for a running systemd, and delete below the root.
        let text = fs::read_to_string(root().join("systemd").join(script)).unwrap();
        let text = text.replace("-d /run/systemd/system", "-d /");
        let text = text.replace("\"$DPKG_ROOT/", &format!("\"{}/", self.path("root").display()));
        fs::write(self.path("script"), text).unwrap();
        let status =
            Command::new("sh").env_clear().env("PATH", path).arg(self.path("script")).args(arguments).status().unwrap();
        assert!(status.success(), "{script} {arguments:?}");
        let log = fs::read_to_string(self.path("log")).unwrap_or_default();
        log.lines().filter(|line| !line.contains("list-units")).map(str::to_owned).collect()
    }
}

#[test]
fn a_first_installation_starts_nothing_and_an_upgrade_restarts_what_runs() {
    let machine = Machine::new();
    let prepared = [
        "systemd-sysusers learner-sync.conf",
        "systemd-tmpfiles --create learner-sync.conf",
        "systemctl --system daemon-reload",
    ];
    assert_eq!(machine.run("postinst", &["configure", ""]), prepared);
    let upgraded = machine.run("postinst", &["configure", "0.1.0-1"]);
    assert_eq!(upgraded[..3], prepared);
    assert_eq!(upgraded[3..], ["deb-systemd-invoke restart learner-sync@a.service"]);
    assert_eq!(machine.run("postinst", &["abort-upgrade", "0.1.0-1"]), [""; 0]);
}

#[test]
fn the_removal_of_the_rpm_package_disables_every_instance() {
    let machine = Machine::new();
    let removed = [
        "systemctl --no-reload disable --now learner-sync.service",
        "systemctl --no-reload disable learner-sync@.service",
        "systemctl stop learner-sync@*.service",
    ];
    assert_eq!(machine.run("rpm-preun", &["0"]), removed);
    assert_eq!(machine.run("rpm-preun", &["1"]), [""; 0]);
}

#[test]
fn a_directory_that_cannot_be_changed_fails_no_maintainer_script() {
    let machine = Machine::new();
    let failing = |name: &str| {
        fs::write(machine.path("bin").join(name), "#!/bin/sh\nexit 1\n").unwrap();
        fs::set_permissions(machine.path("bin").join(name), fs::Permissions::from_mode(0o755)).unwrap();
    };
    failing("systemd-tmpfiles");
    assert!(machine.run("postinst", &["configure", ""]).contains(&"systemctl --system daemon-reload".to_owned()));
    machine.run("rpm-post", &["1"]);
    // Like `rm -rf` of a mount point, while other files can be deleted.
    let script = "#!/bin/sh\n[ \"$1\" != -rf ] && exec /bin/rm \"$@\"\nexit 1\n";
    fs::write(machine.path("bin/rm"), script).unwrap();
    fs::set_permissions(machine.path("bin/rm"), fs::Permissions::from_mode(0o755)).unwrap();
    assert_eq!(machine.run("postrm", &["purge"]), ["systemctl --system daemon-reload"]);
}

#[test]
fn a_removal_stops_the_service_and_keeps_its_data_until_a_purge() {
    let machine = Machine::new();
    assert_eq!(machine.run("prerm", &["remove"]), ["deb-systemd-invoke stop learner-sync@a.service"]);
    assert_eq!(machine.run("prerm", &["upgrade", "0.2.0-1"]), [""; 0]);

    let kept = ["etc/learner-sync/a.toml", "var/lib/learner-sync/a/learners.db", "etc/other"];
    let wanted = "etc/systemd/system/multi-user.target.wants/learner-sync@a.service";
    for name in kept.iter().chain([&wanted]) {
        let path = machine.path("root").join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "").unwrap();
    }
    let exists = |name: &str| Path::new(&machine.path("root")).join(name).exists();
    for arguments in [&["remove"][..], &["upgrade", "0.2.0-1"]] {
        machine.run("postrm", arguments);
        assert!(kept.iter().chain([&wanted]).all(|name| exists(name)), "{arguments:?}");
    }
    machine.run("postrm", &["purge"]);
    assert_eq!(kept.map(exists), [false, false, true]);
    assert!(!exists(wanted) && exists("etc/systemd/system/multi-user.target.wants"));
}
