use std::{fs, os::unix::fs::PermissionsExt};

use super::*;

fn node(id: u32) -> NodeId {
    NodeId::new(id).expect("not 0")
}

fn fresh() -> (tempfile::TempDir, StateDir) {
    let parent = tempfile::tempdir().expect("a temporary directory");
    let state = StateDir::open(&parent.path().join("lib/corosync"), node(2)).expect("created");
    (parent, state)
}

/// Above what one ring in a microsecond would have used since 2020.
const FAR: RingSeq = RingSeq(1_577_836_800 << 20);

#[test]
fn a_missing_directory_is_created_for_root_alone() {
    let (_parent, state) = fresh();
    let mode = fs::metadata(&state.directory).expect("it is there").permissions().mode();
    assert_eq!(mode & 0o7777, 0o700);
    assert_eq!(state.load(), Loaded { ring_seq: RingSeq(0), origin: Origin::Missing });
}

#[test]
fn a_file_in_place_of_the_directory_is_an_error_that_names_it() {
    let parent = tempfile::tempdir().expect("a temporary directory");
    let path = parent.path().join("state");
    fs::write(&path, "").expect("written");
    let error = StateDir::open(&path, node(1)).expect_err("no directory").to_string();
    assert!(error.starts_with(&format!("state directory {} cannot be created: ", path.display())), "{error}");
}

#[test]
fn what_was_stored_is_loaded_again() {
    let (_parent, state) = fresh();
    for mark in [4, 1028, u64::MAX] {
        state.store(RingSeq(mark)).expect("stored");
        assert_eq!(state.load(), Loaded { ring_seq: RingSeq(mark), origin: Origin::Stored });
    }
    let mode = fs::metadata(state.ring_seq_file()).expect("it is there").permissions().mode();
    assert_eq!(mode & 0o7777, 0o600);
    assert_eq!(fs::read_dir(&state.directory).expect("listed").count(), 1, "no temporary file stays");
}

#[test]
fn no_part_of_a_file_leads_to_a_low_sequence() {
    let (_parent, state) = fresh();
    state.store(RingSeq(1 << 30)).expect("stored");
    let whole = fs::read(state.ring_seq_file()).expect("it is there");
    for len in 0..whole.len() {
        // A crash may leave a prefix, a prefix with zeros behind it, or the end of the file alone.
        let mut zeros = whole[..len].to_vec();
        zeros.resize(whole.len(), 0);
        for part in [&whole[..len], &zeros, &whole[whole.len() - len..]] {
            fs::write(state.ring_seq_file(), part).expect("written");
            let loaded = state.load();
            assert!(matches!(loaded.origin, Origin::Unusable(Unusable::Record(_))), "{len}: {loaded:?}");
            assert!(loaded.ring_seq > FAR, "{len}: {loaded:?}");
        }
    }
    fs::write(state.ring_seq_file(), [&whole[..], b"\n"].concat()).expect("written");
    assert!(matches!(state.load().origin, Origin::Unusable(_)));
}

#[test]
fn the_file_of_another_node_is_not_believed() {
    let (_parent, state) = fresh();
    let other = StateDir::open(&state.directory, node(3)).expect("opened");
    other.store(RingSeq(1 << 20)).expect("stored");
    fs::rename(other.ring_seq_file(), state.ring_seq_file()).expect("renamed");
    let loaded = state.load();
    assert_eq!(loaded.origin, Origin::Unusable(Unusable::Foreign(node(3))));
    assert!(loaded.ring_seq > FAR);
}

#[test]
fn links_fifos_and_directories_are_not_followed() {
    let (parent, state) = fresh();
    let canary = parent.path().join("canary");
    fs::write(&canary, "canary").expect("written");
    std::os::unix::fs::symlink(&canary, state.ring_seq_file()).expect("linked");
    assert!(matches!(state.load().origin, Origin::Unusable(Unusable::Unreadable(_))));
    // Storing replaces the link, not what it points to; nor does the temporary file follow one.
    std::os::unix::fs::symlink(&canary, state.directory.join(".ringid_2.new")).expect("linked");
    state.store(RingSeq(8)).expect("stored");
    assert_eq!(state.load().ring_seq, RingSeq(8));
    assert_eq!(fs::read(&canary).expect("it is there"), b"canary");

    fs::remove_file(state.ring_seq_file()).expect("removed");
    fs::create_dir(state.ring_seq_file()).expect("created");
    assert!(matches!(state.load().origin, Origin::Unusable(Unusable::Unreadable(_))));
    fs::remove_dir(state.ring_seq_file()).expect("removed");
    let fifo = rustix::fs::mknodat(
        rustix::fs::CWD,
        state.ring_seq_file(),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RUSR,
        0,
    );
    fifo.expect("made");
    assert!(matches!(state.load().origin, Origin::Unusable(Unusable::Record(_))));
}

#[test]
fn a_write_that_fails_leaves_the_old_file_as_it_was() {
    let (_parent, state) = fresh();
    state.store(RingSeq(8)).expect("stored");
    // A directory in the place of the temporary file: even root cannot write there.
    fs::create_dir(state.directory.join(".ringid_2.new")).expect("created");
    state.store(RingSeq(12)).expect_err("not stored");
    assert_eq!(state.load(), Loaded { ring_seq: RingSeq(8), origin: Origin::Stored });
}

#[test]
fn a_directory_that_was_removed_is_made_again() {
    let (_parent, state) = fresh();
    fs::remove_dir_all(&state.directory).expect("removed");
    state.store(RingSeq(8)).expect("stored");
    assert_eq!(state.load().ring_seq, RingSeq(8));
}
