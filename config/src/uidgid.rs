//! The directory `uidgid.d` beside the configuration file: further `[[uidgid]]` sections, for packages
//! that bring a program which has to connect.

use std::{fs, io, path::Path};

use crate::{
    diagnostic::{Place, Report},
    file::Document,
    keys, read_text,
};

/// Most files that are read.
const FILES_MAX: usize = 100;

/// Reads all files of the directory whose name ends in `.toml`, in the order of their names. A
/// directory that is not there is empty.
pub(crate) fn read_directory(directory: &Path, report: &mut Report) -> Vec<Document> {
    let names = match names(directory) {
        Ok(names) => names,
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Vec::new();
        }
        Err(error) => {
            report.error(&start(directory), format!("cannot read the directory: {error}"));
            return Vec::new();
        }
    };
    if names.len() > FILES_MAX {
        report.error(&start(directory), format!("it has more than {FILES_MAX} files"));
        return Vec::new();
    }
    names.iter().filter_map(|name| read_file(&directory.join(name), report)).collect()
}

fn names(directory: &Path) -> io::Result<Vec<std::ffi::OsString>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(directory)?.take(FILES_MAX + 1) {
        names.push(entry?.file_name());
    }
    names.sort();
    Ok(names)
}

fn read_file(path: &Path, report: &mut Report) -> Option<Document> {
    let start = start(path);
    if path.extension().is_none_or(|extension| extension != "toml") {
        // Programs packaged for corosync leave files in the syntax of corosync.conf here.
        report.warning(&start, "not read: this version reads only files whose name ends in .toml");
        return None;
    }
    match read_text(path) {
        Ok(text) => Some(Document::read(&text, &start.file, &keys::UIDGID_ROOT, report)),
        Err(error) => {
            report.error(&start, format!("cannot read the file: {error}"));
            None
        }
    }
}

fn start(path: &Path) -> Place {
    Place { file: path.to_string_lossy().into(), line: 1, column: 1 }
}
