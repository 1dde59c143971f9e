//! What `deny.toml` says of the dependencies, held without a network. `cargo deny` holds the same, and the advisories.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test may fail loudly")]

use semver::{Version, VersionReq};
use serde::Deserialize;
use spdx::{Expression, ParseMode};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// What this test reads of `deny.toml`.
#[derive(Deserialize)]
struct Deny {
    licenses: Licenses,
    bans: Bans,
    sources: Sources,
}

#[derive(Deserialize)]
struct Licenses {
    allow: BTreeSet<String>,
    exceptions: Vec<LicenseException>,
}

#[derive(Deserialize)]
struct LicenseException {
    #[serde(rename = "crate")]
    name: String,
    allow: BTreeSet<String>,
}

#[derive(Deserialize)]
struct Bans {
    skip: Vec<Skip>,
}

#[derive(Deserialize)]
struct Skip {
    #[serde(rename = "crate")]
    versions: String,
    reason: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Sources {
    allow_registry: Vec<String>,
    allow_git: Vec<String>,
}

#[derive(Deserialize)]
struct Lock {
    package: Vec<Locked>,
}

#[derive(Deserialize)]
struct Locked {
    name: String,
    source: Option<String>,
}

/// A crate that something here is built from.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Dependency {
    name: String,
    version: Version,
    license: String,
}

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn deny() -> Deny {
    toml::from_str(&fs::read_to_string(repository().join("deny.toml")).unwrap()).unwrap()
}

/// All crates that something here is built from on this machine, with all features. `cargo tree` knows them exactly; `cargo
/// metadata` and `Cargo.lock` also have those of optional features that nobody turns on.
fn dependencies() -> BTreeSet<Dependency> {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.current_dir(repository()).args(["tree", "--offline", "--locked", "--workspace", "--all-features"]);
    cargo.args(["--edges", "normal,build,dev", "--prefix", "none", "--format", "{p}|{l}"]);
    let output = cargo.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let tree = String::from_utf8(output.stdout).unwrap();
    let read = |line: &str| {
        // What stands further up is marked so.
        let (package, license) = line.trim_end_matches(" (*)").split_once('|').unwrap();
        let mut words = package.split(' ');
        let (name, version) = (words.next().unwrap().to_owned(), words.next().unwrap());
        let version = Version::parse(version.trim_start_matches('v')).unwrap();
        Dependency { name, version, license: license.to_owned() }
    };
    let found: BTreeSet<Dependency> = tree.lines().filter(|line| !line.is_empty()).map(read).collect();
    assert!(found.len() > 200, "the tree is read: {}", found.len());
    found
}

/// Whether the allowed licences suffice for what an expression asks for. What is no SPDX expression asks for more than there is.
fn is_allowed(license: &str, allowed: &BTreeSet<&String>) -> bool {
    let is_allowed = |wanted: String| allowed.iter().any(|allowed| **allowed == wanted);
    Expression::parse_mode(license, ParseMode::LAX)
        .is_ok_and(|expression| expression.evaluate(|wanted| is_allowed(wanted.to_string())))
}

/// The exceptions of this kind that `deny.toml` has and should not, or should have and has not.
#[track_caller]
fn expect_none(wrong: Vec<String>, what: &str) {
    assert!(wrong.is_empty(), "{what}: see deny.toml\n  {}", wrong.join("\n  "));
}

#[test]
fn every_license_is_allowed_and_every_allowance_is_needed() {
    let Licenses { allow, exceptions } = deny().licenses;
    let dependencies = dependencies();
    let exceptions: BTreeMap<String, BTreeSet<String>> =
        exceptions.into_iter().map(|exception| (exception.name, exception.allow)).collect();
    let refused = |without: Option<&String>| -> Vec<String> {
        let is_refused = |dependency: &&Dependency| {
            let own = exceptions.get(&dependency.name).into_iter().flatten();
            let allowed = allow.iter().chain(own).filter(|license| Some(*license) != without).collect();
            !is_allowed(&dependency.license, &allowed)
        };
        dependencies
            .iter()
            .filter(is_refused)
            .map(|it| format!("{} {}: {:?}", it.name, it.version, it.license))
            .collect()
    };
    expect_none(refused(None), "licences that are not allowed");
    let unused = allow.iter().filter(|license| refused(Some(license)).is_empty()).cloned().collect();
    expect_none(unused, "allowed licences that nothing needs");
    let is_needed = |name: &String, license: &String| {
        let own = exceptions[name].iter().filter(|other| *other != license);
        let allowed = allow.iter().chain(own).collect();
        dependencies.iter().any(|it| it.name == *name && !is_allowed(&it.license, &allowed))
    };
    let pairs = exceptions.iter().flat_map(|(name, own)| own.iter().map(move |license| (name, license)));
    let unused = pairs.filter(|(name, license)| !is_needed(name, license));
    expect_none(unused.map(|(name, license)| format!("{name}: {license}")).collect(), "exceptions that nothing needs");
}

#[test]
fn no_crate_has_two_versions_but_those_that_are_skipped_and_have_to_be() {
    let skip = deny().bans.skip;
    let mut versions: BTreeMap<String, BTreeSet<Version>> = BTreeMap::new();
    for Dependency { name, version, .. } in dependencies() {
        versions.entry(name).or_default().insert(version);
    }
    let mut wrong = Vec::new();
    let mut left = versions.clone();
    for Skip { versions: spec, reason } in &skip {
        let (name, wanted) = spec.split_once(':').unwrap_or_else(|| panic!("{spec:?} is not NAME:VERSIONS"));
        let wanted = VersionReq::parse(wanted).unwrap();
        let (all, left) = (versions.get(name), left.entry(name.to_owned()).or_default());
        let before = left.len();
        left.retain(|version| !wanted.matches(version));
        if left.len() == before || all.is_some_and(|all| all.len() == 1) {
            wrong.push(format!("{spec} is skipped for nothing"));
        }
        if reason.is_empty() {
            wrong.push(format!("{spec} is skipped without a reason"));
        }
    }
    for (name, versions) in left.into_iter().filter(|(_, versions)| versions.len() > 1) {
        let versions: Vec<String> = versions.iter().map(Version::to_string).collect();
        wrong.push(format!(
            "{name} has the versions {}: cargo tree --workspace --all-features -i {name}@VERSION",
            versions.join(", ")
        ));
    }
    expect_none(wrong, "crates with more than one version");
}

#[test]
fn every_crate_is_from_an_allowed_registry() {
    let Sources { allow_registry, allow_git } = deny().sources;
    assert_eq!(allow_git, [""; 0], "a repository needs a check of its own here");
    let lock: Lock = toml::from_str(&fs::read_to_string(repository().join("Cargo.lock")).unwrap()).unwrap();
    assert!(lock.package.len() > 200, "the lock file is read");
    let is_allowed = |source: &str| allow_registry.iter().any(|registry| source == format!("registry+{registry}"));
    let from = |package: Locked| Some((package.name, package.source?));
    let wrong = lock.package.into_iter().filter_map(from).filter(|(_, source)| !is_allowed(source));
    expect_none(wrong.map(|(name, source)| format!("{name} is from {source}")).collect(), "sources");
}
