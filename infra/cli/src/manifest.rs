//! What is read of a `Cargo.toml`.

use serde::Deserialize;

#[derive(Deserialize)]
struct Manifest {
    package: Package,
}

#[derive(Deserialize)]
struct Package {
    name: String,
}

/// The name of the package with this manifest.
///
/// # Errors
/// It is not TOML, or names no package.
pub(crate) fn package_name(manifest: &str) -> Result<String, toml::de::Error> {
    toml::from_str::<Manifest>(manifest).map(|manifest| manifest.package.name)
}
