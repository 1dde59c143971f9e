//! The dependency rules that crate borders cannot express.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test may fail loudly")]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    process::Command,
};

type ModulePath = Vec<String>;

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// The folders below these that have a `Cargo.toml`.
fn packages(folder: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(repository().join(folder)).unwrap().map(|entry| entry.unwrap().path());
    let mut found: Vec<PathBuf> = entries.filter(|path| path.join("Cargo.toml").exists()).collect();
    found.sort();
    found
}

/// The lines that `cargo tree` prints, one for each crate.
fn tree(format: &str, arguments: &[&str]) -> BTreeSet<String> {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.current_dir(repository()).args(["tree", "--offline", "--locked", "--prefix", "none", "--format", format]);
    let output = cargo.args(arguments).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    // `cargo tree` marks a crate that it has printed before.
    let lines = String::from_utf8(output.stdout).unwrap();
    lines.lines().map(|line| line.trim_end_matches(" (*)").to_owned()).collect()
}

/// The names of all crates that a package is built from, with these features only.
fn built_from(package: &str, features: &[&str]) -> BTreeSet<String> {
    let features = features.join(",");
    let lines = tree("{p}", &["--edges", "normal,build", "--package", package, "--features", &features]);
    lines.iter().filter_map(|line| line.split(' ').next()).map(str::to_owned).collect()
}

/// The local stack's functions and the tests have to be built from the same compiled crates. Where it builds only
/// programs, Cargo ignores dev-dependencies: a feature that only a dev-dependency enables would compile every crate
/// above it once more, the AWS SDK among them. The same holds where only the tests' package is built, but for the libraries of the
/// steps: each compiles in a moment, and in this way a new step need not be named in tests/Cargo.toml.
#[test]
fn functions_and_tests_are_built_from_the_same_compiled_crates() {
    const ALL: [&str; 3] = ["--workspace", "--features", "lambda"];
    let built = |what: &[&str], edges| tree("{p} [{f}]", &[what, &["--edges", edges]].concat());
    let (programs, tests) = (built(&ALL, "normal,build"), built(&ALL, "normal,build,dev"));
    assert!(programs.len() > 100, "{programs:?}");
    let others: Vec<&String> = programs.difference(&tests).collect();
    assert_eq!(
        others,
        Vec::<&String>::new(),
        "tests build them with more: name those in tests/Cargo.toml, as `proptest` is"
    );
    let alone = built(&["--package", "stepwell-tests"], "normal,build,dev");
    let is_step = |built: &&String| built.contains("/functions/checkout/");
    let others: Vec<&String> = alone.difference(&tests).filter(|built| !is_step(built)).collect();
    assert_eq!(
        others,
        Vec::<&String>::new(),
        "the whole workspace builds them with more: name that in tests/Cargo.toml"
    );
}

/// The names of the folders in `functions/checkout`, in order.
fn checkout_folders() -> Vec<String> {
    let folders = packages("functions/checkout");
    folders.iter().map(|folder| folder.file_name().unwrap().to_str().unwrap().to_owned()).collect()
}

/// The engine, the shop, the steps and the APIs have to run on one machine: their dependencies contain nothing of AWS, and
/// nothing that needs a C compiler. The same holds for the simulation, which is built often and with optimisation.
#[test]
fn engine_shop_steps_and_apis_are_built_without_aws() {
    let steps = checkout_folders().into_iter().map(|step| format!("checkout_{step}"));
    let others = ["stepwell", "checkout", "http_api", "checkout_api", "tasks_api", "stepwell-simulation"];
    let others = others.map(str::to_owned);
    for package in steps.chain(others) {
        let testing = ["stepwell", "checkout"].contains(&package.as_str()).then_some("testing");
        let all = built_from(&package, testing.as_slice());
        assert!(all.len() > 10, "{package} is built from something: {all:?}");
        let of_aws = |name: &&String| ["aws-", "aws_", "lambda_"].iter().any(|start| name.starts_with(start));
        let found: Vec<&String> =
            all.iter().filter(|name| of_aws(name) || ["ring", "cc"].contains(&name.as_str())).collect();
        assert_eq!(found, [""; 0], "{package} is built from them");
        assert!(!all.contains("stepwell_aws") && !all.contains("checkout_aws"), "{package}");
    }
}

/// The first build on one machine is what a newcomer waits for: the program is built without AWS, without TLS and without what watches its
/// sources. SQLite is the only part of it in C.
#[test]
fn program_of_one_machine_is_built_without_aws_and_tls() {
    let all = built_from("checkout_local", &[]);
    assert!(all.contains("libsqlite3-sys") && all.contains("checkout_validate_cart"), "{all:?}");
    let is_foreign = |name: &&String| {
        let starts = ["aws-", "aws_", "lambda_"].iter().any(|start| name.starts_with(start));
        starts || ["ring", "rustls", "stepwell_aws", "checkout_aws", "notify"].contains(&name.as_str())
    };
    assert_eq!(all.iter().filter(is_foreign).collect::<Vec<_>>(), [""; 0]);
}

/// A file of a crate: its module, and the module paths that its code names.
struct Source {
    module: ModulePath,
    /// The code without comments and tests.
    code: String,
    names: BTreeSet<ModulePath>,
}

/// The sources of a crate, without its tests.
fn sources(package: &Path) -> Vec<Source> {
    let mut found = Vec::new();
    read(&package.join("src"), &[], &mut found);
    found
}

fn read(folder: &Path, module: &[String], found: &mut Vec<Source>) {
    for entry in fs::read_dir(folder).into_iter().flatten() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let inner = || module.iter().cloned().chain([name.clone()]).collect::<ModulePath>();
        match path.extension() {
            _ if ["tests", "fixtures", "races", "bin", "main"].contains(&name.as_str()) => {}
            None => read(&path, &inner(), found),
            Some(_) if name == "lib" || name == "mod" => found.push(source(&path, module.to_vec())),
            Some(extension) if extension == "rs" => found.push(source(&path, inner())),
            Some(_) => {}
        }
    }
}

fn source(path: &Path, module: ModulePath) -> Source {
    let text = fs::read_to_string(path).unwrap();
    // Tests are at the end of a file, by convention.
    let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    let code: String =
        code.lines().filter(|line| !line.trim_start().starts_with("//")).map(|line| format!("{line}\n")).collect();
    let mut names = BTreeSet::new();
    for statement in code.split(';') {
        if let Some((_, tree)) = statement.rsplit_once("use ").filter(|(before, _)| {
            before.trim().is_empty() || before.ends_with("pub ") || before.ends_with('\n') || before.ends_with(") ")
        }) {
            expand(&[], &tree.split_whitespace().collect::<Vec<_>>().join(" "), &mut names);
        }
    }
    for (at, _) in code.match_indices("crate::") {
        let path: String = code[at..].chars().take_while(|c| c.is_alphanumeric() || matches!(c, '_' | ':')).collect();
        names.insert(segments(&path));
    }
    let names = names.into_iter().filter_map(|path| absolute(&module, path)).collect();
    Source { module, code, names }
}

fn segments(path: &str) -> ModulePath {
    path.split("::").map(|segment| segment.trim().to_owned()).filter(|segment| !segment.is_empty()).collect()
}

/// The paths of a `use` tree.
fn expand(before: &[String], tree: &str, found: &mut BTreeSet<ModulePath>) {
    let Some((head, rest)) = tree.split_once('{') else {
        let path = tree.split(" as ").next().unwrap_or_default();
        found.insert(before.iter().cloned().chain(segments(path)).filter(|segment| segment != "self").collect());
        return;
    };
    let before: Vec<String> = before.iter().cloned().chain(segments(head)).collect();
    let (mut depth, mut start) = (0, 0);
    let inside = rest.trim_end().strip_suffix('}').unwrap_or(rest);
    for (at, c) in inside.char_indices().chain([(inside.len(), ',')]) {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                let part = inside[start..at].trim();
                if !part.is_empty() {
                    expand(&before, part, found);
                }
                start = at + 1;
            }
            _ => {}
        }
    }
}

/// The path from the crate's root; `None` for a path into another crate.
fn absolute(module: &ModulePath, path: ModulePath) -> Option<ModulePath> {
    let mut from = module.clone();
    let mut path = path.into_iter().peekable();
    match path.peek()?.as_str() {
        "crate" => {
            path.next();
            return Some(path.collect());
        }
        "super" => {}
        _ => return None,
    }
    while path.next_if(|segment| segment == "super").is_some() {
        from.pop();
    }
    Some(from.into_iter().chain(path).collect())
}

/// The module of a crate that a path leads to, also through a `pub use` of the root.
fn module_of<'a>(
    path: &[String],
    modules: &'a BTreeSet<ModulePath>,
    exports: &BTreeMap<String, ModulePath>,
) -> Option<&'a ModulePath> {
    let through = path.first().and_then(|name| exports.get(name));
    let path = through.map_or(path, |export| export.as_slice());
    (1..=path.len()).rev().find_map(|length| modules.get(&path[..length]))
}

/// The names that the root of a crate re-exports with `pub use`.
fn exports(package: &Path, modules: &BTreeSet<ModulePath>) -> BTreeMap<String, ModulePath> {
    let mut paths = BTreeSet::new();
    let root = fs::read_to_string(package.join("src/lib.rs")).unwrap_or_default();
    for statement in root.split(';') {
        if let Some((_, tree)) = statement.split_once("pub use ") {
            expand(&[], &tree.split_whitespace().collect::<Vec<_>>().join(" "), &mut paths);
        }
    }
    let own =
        paths.into_iter().map(|path| path.into_iter().filter(|segment| segment != "crate").collect::<ModulePath>());
    own.filter(|path| modules.contains(&path[..1])).map(|path| (path.last().unwrap().clone(), path)).collect()
}

/// The modules that each module of a crate imports from, except its ancestors and descendants.
fn imports(package: &Path) -> BTreeMap<ModulePath, BTreeSet<ModulePath>> {
    let sources = sources(package);
    let modules: BTreeSet<ModulePath> = sources.iter().map(|source| source.module.clone()).collect();
    let exports = exports(package, &modules);
    let related = |one: &ModulePath, other: &ModulePath| one.starts_with(other) || other.starts_with(one);
    let edges = sources.iter().map(|Source { module, names, .. }| {
        let to = names.iter().filter_map(|path| module_of(path, &modules, &exports));
        (module.clone(), to.filter(|to| !related(module, to)).cloned().collect())
    });
    edges.filter(|(module, _)| !module.is_empty()).collect()
}

/// A cycle of imports, if there is one.
fn circle(edges: &BTreeMap<ModulePath, BTreeSet<ModulePath>>) -> Option<Vec<String>> {
    for start in edges.keys() {
        let (mut from, mut next) = (BTreeMap::from([(start, start)]), vec![start]);
        while let Some(module) = next.pop() {
            for to in edges.get(module).into_iter().flatten() {
                if to == start {
                    let mut way = vec![start.join("::"), module.join("::")];
                    let mut at = module;
                    while from[at] != start {
                        at = from[at];
                        way.push(at.join("::"));
                    }
                    return Some(way);
                }
                if !from.contains_key(to) {
                    from.insert(to, module);
                    next.push(to);
                }
            }
        }
    }
    None
}

#[test]
fn imports_of_each_crate_have_no_cycle() {
    let all = ["shared", "functions", "functions/checkout", "tests"].into_iter().flat_map(packages);
    for package in all {
        let edges = imports(&package);
        assert_eq!(circle(&edges), None, "{}", package.display());
    }
}

#[test]
fn core_imports_only_core_ports_only_core_and_runtime_only_both() {
    let edges = imports(&repository().join("shared/stepwell"));
    assert!(edges.len() > 30 && edges.values().map(BTreeSet::len).sum::<usize>() > 100, "the sources are read");
    let allowed: [(&str, &[&str]); 3] =
        [("core", &["core"]), ("ports", &["core", "ports"]), ("runtime", &["core", "ports", "runtime"])];
    for (floor, allowed) in allowed {
        let of_floor = edges.iter().filter(|(module, _)| module[0] == floor);
        for (module, to) in of_floor {
            for to in to {
                assert!(allowed.contains(&to[0].as_str()), "{} imports {}", module.join("::"), to.join("::"));
            }
        }
    }
}

/// The tests of a program are linked with all of the AWS SDK once more. So code that needs tests belongs in a library.
#[test]
fn no_program_has_tests_of_its_own() {
    let packages = ["", "shared", "functions", "functions/checkout", "tests"].into_iter().flat_map(packages);
    let mut programs = Vec::new();
    for package in packages {
        programs.push(package.join("src/main.rs"));
        all(&package.join("src/bin"), &mut programs);
    }
    programs.retain(|path| path.exists());
    assert!(programs.len() > 15, "{programs:?}");
    let tested = programs.iter().filter(|path| fs::read_to_string(path).is_ok_and(|text| text.contains("cfg(test)")));
    assert_eq!(tested.collect::<Vec<_>>(), Vec::<&PathBuf>::new(), "tests/run.sh does not run them");
}

/// The core is pure: times and random numbers come in as values.
#[test]
fn core_uses_no_clock_no_random_numbers_and_no_io() {
    const FORBIDDEN: [&str; 10] = [
        "SystemTime",
        "Instant",
        "::now",
        "now_v",
        "TaskId::new",
        "fastrand",
        "tokio",
        "tracing",
        "std::env",
        "std::fs",
    ];
    let sources = sources(&repository().join("shared/stepwell"));
    let core: Vec<&Source> =
        sources.iter().filter(|source| source.module.first().is_some_and(|m| m == "core")).collect();
    assert!(core.len() > 20, "the sources are read");
    for source in core {
        let found: Vec<&&str> = FORBIDDEN.iter().filter(|word| source.code.contains(**word)).collect();
        assert!(found.is_empty(), "{} has {found:?}", source.module.join("::"));
    }
}

/// Adds the files in a folder and below it.
fn all(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).into_iter().flatten() {
        let path = entry.unwrap().path();
        if path.is_dir() { all(&path, found) } else { found.push(path) }
    }
}

#[test]
fn no_source_is_included_by_path() {
    let mut manifests =
        ["shared", "functions", "functions/checkout", "tests"].into_iter().flat_map(packages).collect::<Vec<_>>();
    manifests.push(repository().join("tests"));
    let mut files = Vec::new();
    manifests.iter().for_each(|package| all(&package.join("src"), &mut files));
    assert!(files.len() > 150);
    let attribute = concat!("#[pa", "th = ");
    let by_path = files.iter().filter(|path| fs::read_to_string(path).is_ok_and(|text| text.contains(attribute)));
    assert_eq!(by_path.collect::<Vec<_>>(), Vec::<&PathBuf>::new());
}

/// Each line goes through `redaction`, so each program begins its log by `telemetry::start`, which also takes the panics.
#[test]
fn log_of_every_program_is_begun_by_telemetry() {
    const OWN_LOG: [&str; 5] = ["subscriber::fmt", "fmt::layer", "try_init", "set_global_default", "set_hook"];
    let packages = ["shared", "functions", "functions/checkout", "infra"].into_iter().flat_map(packages);
    let mut files = Vec::new();
    packages
        .filter(|package| !package.ends_with("shared/telemetry"))
        .for_each(|package| all(&package.join("src"), &mut files));
    files.retain(|file| {
        !file.components().any(|part| ["tests", "testing"].iter().any(|tests| part.as_os_str() == *tests))
    });
    let code = |file: &PathBuf| {
        let text = fs::read_to_string(file).unwrap_or_default();
        text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default().to_owned()
    };
    let begins = |file: &&PathBuf| code(file).contains("telemetry::start(");
    let begun: Vec<_> = files.iter().filter(begins).map(|file| file.strip_prefix(repository()).unwrap()).collect();
    let (lambda, local) = ("shared/stepwell_aws/src/serve.rs", "shared/checkout_local/src/bin/checkout_local/serve.rs");
    assert_eq!(begun.into_iter().collect::<BTreeSet<_>>(), [Path::new(lambda), Path::new(local)].into());
    let own = files.iter().filter(|file| {
        let code = code(file);
        let has = |word: &&str| code.contains(*word);
        OWN_LOG.iter().any(has) || (has(&"tracing_subscriber") && has(&".init()"))
    });
    assert_eq!(own.collect::<Vec<_>>(), Vec::<&PathBuf>::new(), "their lines would have secrets");
}
