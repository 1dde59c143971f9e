//! The sources of the program: which files they are, and when they have changed.

use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use std::{
    collections::BTreeSet,
    io, mem,
    path::{Component, Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::sync::Notify;

/// The folders of the repository with files that the program is built from: code, the workflow, and what the code includes.
const FOLDERS: [&str; 4] = ["events", "functions", "infra", "shared"];

/// The files in the root of the repository that say how it is built.
const FILES: [&str; 3] = ["Cargo.toml", "Cargo.lock", "rust-toolchain.toml"];

/// The kinds of files that the program is built from. What an editor writes beside them has other names.
const EXTENSIONS: [&str; 10] = ["css", "html", "js", "json", "rs", "sql", "svg", "toml", "txt", "yaml"];

/// How long changes are collected for one build. An editor that saves all files takes less.
const COLLECTED_FOR: Duration = Duration::from_millis(200);

/// Which files are sources.
#[derive(Clone, Debug)]
pub struct Sources {
    /// The root of the repository.
    root: PathBuf,
    /// Folders in it that are written to while the program is built or runs.
    others: Vec<PathBuf>,
}

impl Sources {
    /// The sources in this repository, apart from what is in these other folders. One that the repository lies in does not matter.
    ///
    /// # Errors
    /// The root cannot be found.
    pub fn new(root: &Path, others: &[PathBuf]) -> io::Result<Self> {
        // The watcher reports paths without links.
        let real = |path: &PathBuf| path.canonicalize().or_else(|_| std::path::absolute(path));
        let (root, mut others) = (root.canonicalize()?, others.iter().map(real).collect::<io::Result<Vec<_>>>()?);
        others.retain(|other| !root.starts_with(other));
        Ok(Self { root, others })
    }

    /// The path of a source from the root of the repository; `None` for any other file.
    pub fn source<'a>(&self, path: &'a Path) -> Option<&'a Path> {
        let from_root = path.strip_prefix(&self.root).ok()?;
        let mut names = from_root.components().map(|component| match component {
            Component::Normal(name) => name.to_str().unwrap_or_default(),
            _ => "",
        });
        let (first, mut inner) = (names.next()?, names.clone().peekable());
        let is_source = match inner.peek() {
            None => FILES.contains(&first),
            Some(_) => FOLDERS.contains(&first) && !inner.any(|name| name.starts_with('.')) && is_of_a_source(path),
        };
        (is_source && !self.others.iter().any(|other| path.starts_with(other))).then_some(from_root)
    }

    /// Watches the sources.
    ///
    /// # Errors
    /// The system cannot watch them.
    pub(super) fn watch(self) -> notify::Result<Changes> {
        let shared = Arc::new(Shared::default());
        let root = self.root.clone();
        let (sources, of_watcher) = (self, shared.clone());
        let mut watcher = notify::recommended_watcher(move |event: notify::Result<Event>| match event {
            Ok(event) => of_watcher.add(changed_by(&sources, &event)),
            // Something may have been missed.
            Err(_) => of_watcher.add([PathBuf::from(".")]),
        })?;
        // Not the whole repository: the folder `target` alone has thousands of folders.
        watcher.watch(&root, RecursiveMode::NonRecursive)?;
        for folder in FOLDERS.map(|folder| root.join(folder)).iter().filter(|folder| folder.is_dir()) {
            watcher.watch(folder, RecursiveMode::Recursive)?;
        }
        Ok(Changes { shared, _watcher: watcher })
    }
}

fn is_of_a_source(path: &Path) -> bool {
    path.extension().and_then(|extension| extension.to_str()).is_some_and(|extension| EXTENSIONS.contains(&extension))
}

/// The sources that an event is about.
fn changed_by(sources: &Sources, event: &Event) -> Vec<PathBuf> {
    if event.need_rescan() {
        return vec![PathBuf::from(".")];
    }
    // The build reads the sources, too.
    if matches!(event.kind, EventKind::Access(_)) {
        return Vec::new();
    }
    event.paths.iter().filter_map(|path| sources.source(path)).map(Path::to_owned).collect()
}

/// The changes of the sources.
pub(super) struct Changes {
    shared: Arc<Shared>,
    _watcher: RecommendedWatcher,
}

#[derive(Default)]
struct Shared {
    changed: Mutex<BTreeSet<PathBuf>>,
    notify: Notify,
}

impl Shared {
    fn add(&self, paths: impl IntoIterator<Item = PathBuf>) {
        let mut changed = self.lock();
        changed.extend(paths);
        if !changed.is_empty() {
            self.notify.notify_one();
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeSet<PathBuf>> {
        self.changed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Changes {
    /// Returns the sources that have changed since the last call, once there are some, and those of a moment after it. A caller that
    /// drops this future loses none.
    pub(super) async fn next(&self) -> BTreeSet<PathBuf> {
        while self.shared.lock().is_empty() {
            self.shared.notify.notified().await;
        }
        tokio::time::sleep(COLLECTED_FOR).await;
        mem::take(&mut *self.shared.lock())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use tempfile::TempDir;

    /// A repository with a data folder and a target folder inside of folders with sources.
    fn repository() -> (TempDir, Sources) {
        let root = TempDir::new().unwrap();
        for folder in ["functions/pay/src", "shared/target/debug", "shared/data", "infra", "tests/src", ".git"] {
            fs::create_dir_all(root.path().join(folder)).unwrap();
        }
        let others = ["shared/target", "shared/data", ".."].map(|folder| root.path().join(folder));
        let sources = Sources::new(root.path(), &others).unwrap();
        (root, sources)
    }

    #[test]
    fn files_that_the_program_is_built_from_are_sources() {
        let (_folder, sources) = repository();
        let is_source = |path: &str| sources.source(&sources.root.join(path)).is_some();
        for path in [
            "Cargo.toml",
            "Cargo.lock",
            "rust-toolchain.toml",
            "functions/pay/Cargo.toml",
            "functions/pay/src/lib.rs",
            "shared/shop/src/schema.sql",
            "shared/checkout/src/checkout.yaml",
            "infra/products.json",
            "events/requests/success.json",
        ] {
            assert!(is_source(path), "{path}");
        }
        for path in [
            "",
            "functions",
            "README.md",
            ".git/index",
            ".local/tools/x.json",
            "target/debug/build/x.rs",
            "stepwell-data/shop.sqlite",
            "shared/target/debug/x.rs",
            "shared/data/x.json",
            "tests/src/lib.rs",
            "infra/deploy.sh",
            "functions/pay/src/.lib.rs.swp",
            "functions/pay/src/.#lib.rs",
            "functions/pay/src/lib.rs~",
            "functions/pay/src/4913",
        ] {
            assert!(!is_source(path), "{path}");
        }
        assert_eq!(sources.source(Path::new("/elsewhere/shared/lib.rs")), None);
    }

    #[tokio::test]
    async fn changes_are_told_and_nothing_else() {
        let (_folder, sources) = repository();
        let root = sources.root.clone();
        let lib = root.join("functions/pay/src/lib.rs");
        fs::write(&lib, "// 1").unwrap();
        let changes = sources.watch().unwrap();
        // Events come in order, so those of the last file come after all others.
        fs::read(&lib).unwrap();
        for other in ["shared/target/debug/x.rs", "shared/data/x.json", "tests/src/lib.rs", ".git/index", "README.md"] {
            fs::write(root.join(other), "").unwrap();
        }
        fs::create_dir(root.join("infra/new")).unwrap();
        fs::write(root.join("Cargo.lock"), "").unwrap();
        assert_eq!(changes.next().await, [PathBuf::from("Cargo.lock")].into());
        // As many editors save a file.
        fs::write(root.join("functions/pay/src/.lib.rs.new"), "// 2").unwrap();
        fs::rename(root.join("functions/pay/src/.lib.rs.new"), &lib).unwrap();
        fs::write(root.join("infra/new/products.json"), "").unwrap();
        let mut found = BTreeSet::new();
        while found.len() < 2 {
            found.extend(changes.next().await);
        }
        assert_eq!(found, ["functions/pay/src/lib.rs", "infra/new/products.json"].map(PathBuf::from).into());
        fs::remove_file(&lib).unwrap();
        assert_eq!(changes.next().await, [PathBuf::from("functions/pay/src/lib.rs")].into());
    }
}
