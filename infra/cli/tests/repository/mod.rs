//! Copies of this repository.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap().to_owned()
}

/// The files below a folder, by their path from it, without build output and git's own files.
pub(crate) fn files(root: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    fn read(root: &Path, folder: &Path, found: &mut BTreeMap<PathBuf, Vec<u8>>) {
        for entry in fs::read_dir(root.join(folder)).unwrap() {
            let entry = entry.unwrap();
            let (name, path) = (entry.file_name(), folder.join(entry.file_name()));
            if [".git", ".local", "target"].iter().any(|other| name == *other) {
                continue;
            }
            if entry.file_type().unwrap().is_dir() {
                read(root, &path, found);
            } else {
                found.insert(path.clone(), fs::read(root.join(path)).unwrap());
            }
        }
    }
    let mut found = BTreeMap::new();
    read(root, Path::new(""), &mut found);
    found
}

/// Makes a folder a copy of this repository. An unchanged file keeps its time, by which cargo decides what to build.
pub(crate) fn copy_to(root: &Path) {
    fs::create_dir_all(root).unwrap();
    let (wanted, found) = (files(&repository()), files(root));
    for path in found.keys().filter(|path| !wanted.contains_key(*path)) {
        fs::remove_file(root.join(path)).unwrap();
        // Cargo takes each folder in `functions/checkout` as a package. A folder that is not empty stays.
        root.join(path).ancestors().skip(1).take_while(|folder| fs::remove_dir(folder).is_ok()).for_each(drop);
    }
    for (path, text) in wanted.iter().filter(|(path, text)| found.get(*path) != Some(text)) {
        fs::create_dir_all(root.join(path).parent().unwrap()).unwrap();
        fs::write(root.join(path), text).unwrap();
    }
}

/// Gives all packages of a copy another version. Cargo identifies a package by name, version and place in its workspace, so the copy and
/// this repository can build into one folder.
pub(crate) fn set_version(root: &Path, version: &str) {
    let manifest = fs::read_to_string(root.join("Cargo.toml")).unwrap();
    let manifest = manifest.replacen("version = \"0.1.0\"", &format!("version = \"{version}\""), 1);
    fs::write(root.join("Cargo.toml"), manifest).unwrap();
}
