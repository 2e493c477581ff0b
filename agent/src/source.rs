//! Where a model's files are.

use crate::error::LoadError;
use std::path::{Path, PathBuf};

const SCHEME: &str = "file://";

/// The path that a storage URI names: `file:///srv/m` is absolute, `file://models/m` relative to the working directory. A model's
/// artifact version is a sub-folder of it.
pub(crate) fn locate(uri: &str, artifact_version: Option<u32>) -> Result<PathBuf, LoadError> {
    let wrong = |reason: &str| LoadError::Uri { uri: uri.into(), reason: reason.into() };
    let path = uri.strip_prefix(SCHEME).ok_or_else(|| match uri.split_once("://") {
        Some((scheme, _)) => wrong(&format!("this server has no access to {scheme}://")),
        None => wrong("it does not begin with file://"),
    })?;
    if path.is_empty() {
        return Err(wrong("the path is empty"));
    }
    let path = match artifact_version {
        Some(version) => Path::new(path).join(version.to_string()),
        None => path.into(),
    };
    match path.try_exists() {
        Ok(true) => Ok(path),
        Ok(false) => Err(LoadError::File { reason: not_found(&path), path }),
        Err(error) => Err(LoadError::File { path, reason: error.to_string() }),
    }
}

/// A relative path that is not there is most often one that was meant from elsewhere.
fn not_found(path: &Path) -> String {
    match std::env::current_dir() {
        Ok(here) if path.is_relative() => format!("no such file or folder in {}", here.display()),
        _ => "no such file or folder".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn absolute_and_relative_paths_are_found() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("3")).unwrap();
        let uri = format!("file://{}", folder.path().display());
        assert_eq!(locate(&uri, None).unwrap(), folder.path());
        assert_eq!(locate(&uri, Some(3)).unwrap(), folder.path().join("3"));
        assert_eq!(locate("file://src/lib.rs", None).unwrap(), Path::new("src/lib.rs"));
    }

    #[test]
    fn other_schemes_and_missing_files_are_named() {
        for (uri, part) in [
            ("gs://bucket/model", "no access to gs://"),
            ("models/add10", "does not begin with file://"),
            ("file://", "path is empty"),
            ("file://nowhere/at/all", "nowhere/at/all: no such file or folder in /"),
            ("file:///nowhere", "/nowhere: no such file or folder"),
        ] {
            let error = locate(uri, None).unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        }
    }
}
