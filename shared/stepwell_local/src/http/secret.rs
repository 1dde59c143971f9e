//! A secret in a file that only its owner can read.

use crate::file::{beside, sync_folder_of};
use std::{
    fmt, fs,
    io::{self, Read, Write},
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};
use subtle::ConstantTimeEq;

/// How many random bytes a new secret is made of.
const BYTES: usize = 32;

/// The fewest characters of a secret that somebody else has written to the file.
const MIN_CHARACTERS: usize = 32;

/// The access of its owner only, as `chmod` writes it.
const OWNER_ONLY: u32 = 0o600;

/// The access of the owner's group and of everybody else.
const OF_OTHERS: u32 = 0o077;

/// A secret text of the process, which stands in no log line of it.
#[derive(Clone)]
pub struct Secret(redaction::Secret);

/// The reason why a secret cannot be read or made.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// Others than its owner have access to the file.
    #[error("{path} can be read by others (mode {mode:03o}); run: chmod 600 '{path}'", path = path.display())]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// The secret is too short to be one.
    #[error(
        "the secret in {path} has {characters} characters, it needs {MIN_CHARACTERS} at least; \
         put the secret back; if it is lost, delete the file, and the next start makes a new one, by which what was \
         given away before is void",
        path = path.display()
    )]
    Short {
        /// The file.
        path: PathBuf,
        /// The length of the secret.
        characters: usize,
    },
    /// The file cannot be read or written.
    #[error("{path}: {source}", path = path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
}

impl Secret {
    /// Reads the secret in this file. If there is no file, it makes one with a random secret, for its owner only.
    ///
    /// # Errors
    /// See [`SecretError`].
    pub fn load_or_create(path: &Path) -> Result<Self, SecretError> {
        let failed = |source| SecretError::Io { path: path.to_owned(), source };
        let mut file = match fs::File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return create(path).map_err(failed),
            Err(error) => return Err(failed(error)),
        };
        let mode = file.metadata().map_err(failed)?.permissions().mode() & 0o777;
        if mode & OF_OTHERS != 0 {
            return Err(SecretError::Exposed { path: path.to_owned(), mode });
        }
        let mut text = String::new();
        file.read_to_string(&mut text).map_err(failed)?;
        let secret = text.trim();
        match secret.chars().count() {
            characters if characters < MIN_CHARACTERS => Err(SecretError::Short { path: path.to_owned(), characters }),
            _ => Ok(Self(redaction::Secret::of_system(secret))),
        }
    }

    /// The text.
    pub fn expose(&self) -> &str {
        self.0.expose()
    }

    /// Compares in a time that does not depend on where the texts differ.
    pub fn is(&self, text: &str) -> bool {
        self.expose().as_bytes().ct_eq(text.as_bytes()).into()
    }
}

/// Shows no secret.
impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Secret").finish_non_exhaustive()
    }
}

/// Writes a new secret. The file gets its name only when it is whole, so a crash leaves none or a whole one.
fn create(path: &Path) -> io::Result<Secret> {
    let mut bytes = [0; BYTES];
    getrandom::fill(&mut bytes).map_err(io::Error::other)?;
    let secret: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let partial = beside(path, ".new");
    // What a crash has left may have another mode.
    match fs::remove_file(&partial) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(OWNER_ONLY).open(&partial)?;
    file.write_all(format!("{secret}\n").as_bytes())?;
    file.sync_all()?;
    fs::rename(&partial, path)?;
    // URLs that were given away rest on the secret.
    sync_folder_of(path)?;
    Ok(Secret(redaction::Secret::of_system(secret)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tempfile::tempdir;

    #[test]
    fn new_secret_is_for_its_owner_only_and_is_read_again() {
        let folder = tempdir().unwrap();
        let path = folder.path().join("token");
        fs::write(folder.path().join("token.new"), "half of a sec").unwrap();
        let made = Secret::load_or_create(&path).unwrap();
        assert_eq!(made.expose().len(), 2 * BYTES);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, OWNER_ONLY);
        assert!(Secret::load_or_create(&path).unwrap().is(made.expose()));
        assert!(!made.is(&made.expose()[1..]) && !made.is("") && !made.is(&made.expose().to_uppercase()));
        assert_eq!(format!("{made:?}"), "Secret { .. }");
        let other = Secret::load_or_create(&folder.path().join("other")).unwrap();
        assert!(!other.is(made.expose()), "each is random");
    }

    #[test]
    fn secret_that_others_can_read_or_that_is_short_is_refused_with_what_to_do() {
        let folder = tempdir().unwrap();
        let path = folder.path().join("token");
        fs::write(&path, "short\n").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let error = Secret::load_or_create(&path).unwrap_err().to_string();
        let (path_shown, chmod) = (path.display(), format!("chmod 600 '{}'", path.display()));
        assert_eq!(error, format!("{path_shown} can be read by others (mode 640); run: {chmod}"));
        fs::set_permissions(&path, fs::Permissions::from_mode(OWNER_ONLY)).unwrap();
        let error = Secret::load_or_create(&path).unwrap_err().to_string();
        assert!(error.starts_with(&format!("the secret in {path_shown} has 5 characters")), "{error}");
    }
}
