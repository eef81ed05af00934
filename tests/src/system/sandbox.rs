//! Namespaces for a whole test program.
//!
//! [`enter`] starts the program again as process 1 of new pid, mount, network (and, without root, user) namespaces,
//! waits for it, and hands its exit code on. When that process 1 ends, for whatever reason, the kernel ends everything
//! it started and everything it mounted is gone. What stays is one directory under the system's temporary directory; its
//! name holds the pid of its owner, who removes it, or else the next run does.

use std::{
    env, fs,
    os::unix::process::ExitStatusExt,
    path::{Path, PathBuf},
    process::{Command, ExitCode, Stdio},
    sync::{Mutex, OnceLock},
};

use libtest_mimic::{Arguments, Completion, Trial};

/// Set for the program that runs inside; names the directory for its files.
const ROOT_VARIABLE: &str = "CLUSTER_TEST_ROOT";
const ROOT_PREFIX: &str = "cluster-test.";

/// Where a program that called [`enter`] finds itself.
#[derive(Debug)]
pub enum Place {
    /// In the namespaces. Carry on.
    Inside,
    /// Outside; the program ran inside and ended with this code.
    Done(ExitCode),
    /// Outside, and the kernel or the container refuses the namespaces.
    Refused(String),
}

/// The main function of a test program: all tests, each in order of the list, inside the sandbox.
///
/// Where namespaces are refused every test is listed as ignored with the reason; none counts as passed.
#[must_use]
pub fn run_tests(tests: Vec<Test>) -> ExitCode {
    let mut arguments = Arguments::from_args();
    // Two clusters at a time would disturb each other's timing on a small machine.
    arguments.test_threads.get_or_insert(1);
    let refusal = if arguments.list {
        None
    } else {
        match enter() {
            Place::Inside => None,
            Place::Done(code) => return code,
            Place::Refused(reason) => Some(reason),
        }
    };
    let trials = tests.into_iter().map(|test| test.into_trial(refusal.clone())).collect();
    libtest_mimic::run(&arguments, trials).exit_code()
}

/// One test of a list: a sentence, and what it needs besides namespaces.
#[derive(Clone, Copy, Debug)]
pub struct Test {
    /// The sentence, in snake case.
    pub name: &'static str,
    /// Programs and files without which the test is skipped.
    pub needs: &'static [Need],
    /// The test. It fails by panicking.
    pub run: fn() -> Outcome,
}

/// What a test that did not fail comes to.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Outcome {
    /// What its name says is so.
    Holds,
    /// It could not tell, for this reason.
    Skipped(String),
}

impl From<()> for Outcome {
    fn from((): ()) -> Self {
        Self::Holds
    }
}

/// Something of the machine that a test cannot do without.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Need {
    /// A C compiler, and Debian's libcpg with its header.
    Libcpg,
    /// Debian's corosync package: the daemon and its tools.
    DebianCorosync,
}

impl Need {
    fn missing(self) -> Option<&'static str> {
        let (there, package) = match self {
            Self::Libcpg => {
                (Path::new("/usr/include/corosync/cpg.h").exists() && which("gcc"), "gcc libcpg-dev")
            }
            Self::DebianCorosync => (Path::new("/usr/sbin/corosync").exists(), "corosync"),
        };
        (!there).then_some(package)
    }
}

impl Test {
    fn into_trial(self, refusal: Option<String>) -> Trial {
        let missing: Vec<_> = self.needs.iter().filter_map(|need| need.missing()).collect();
        let reason = refusal
            .or_else(|| (!missing.is_empty()).then(|| format!("not installed: {}", missing.join(" "))));
        match reason {
            Some(reason) => Trial::ignorable_test(self.name, move || Ok(Completion::ignored_with(reason))),
            None => Trial::ignorable_test(self.name, move || match self.run_named() {
                Outcome::Holds => Ok(Completion::Completed),
                Outcome::Skipped(reason) => Ok(Completion::ignored_with(reason)),
            }),
        }
    }

    fn run_named(&self) -> Outcome {
        *RUNNING.lock().expect("nobody panics with this lock") = self.name;
        (self.run)()
    }
}

/// The name of the test that runs; of the last that began, if several do.
pub(super) fn running_test() -> &'static str {
    *RUNNING.lock().expect("nobody panics with this lock")
}

static RUNNING: Mutex<&str> = Mutex::new("program");

/// Lists the functions as tests under their own names: `tests![[Need::Libcpg] three_nodes_form_a_ring, ..]`.
#[macro_export]
macro_rules! system_tests {
    ($([$($need:expr),*] $test:ident),* $(,)?) => {
        vec![$($crate::system::sandbox::Test { name: stringify!($test), needs: &[$($need),*], run: || $test().into() }),*]
    };
}

/// Enters the sandbox; see [`Place`]. Call it first thing in `main`, with the program's own arguments untouched.
#[must_use]
pub fn enter() -> Place {
    if env::var_os(ROOT_VARIABLE).is_some() && rustix::process::getpid().is_init() {
        furnish();
        return Place::Inside;
    }
    let flags = match usable_flags() {
        Ok(flags) => flags,
        Err(reason) => return Place::Refused(reason),
    };
    sweep();
    let root = env::temp_dir().join(format!("{ROOT_PREFIX}{}", std::process::id()));
    fs::create_dir_all(&root).expect("make the directory for the tests' files");
    build_daemon();
    let own_path = env::current_exe().expect("own path");
    let status = isolated(flags)
        .arg(own_path)
        .args(env::args_os().skip(1))
        .env(ROOT_VARIABLE, &root)
        .status()
        .expect("run setpriv, a part of util-linux");
    drop(fs::remove_dir_all(&root));
    let code = status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0));
    Place::Done(ExitCode::from(u8::try_from(code).unwrap_or(1)))
}

/// The directory for files of this run. On a real file system, for the sake of `fsync`.
///
/// # Panics
/// Outside the sandbox.
#[must_use]
pub fn root() -> &'static Path {
    static ROOT: OnceLock<PathBuf> = OnceLock::new();
    ROOT.get_or_init(|| env::var_os(ROOT_VARIABLE).expect("inside the sandbox").into())
}

/// Where this workspace's programs are: the daemon under its own name, and the tools.
///
/// `COROSYNC_BIN` names another daemon; the tools are then looked for beside it.
#[must_use]
pub fn program(name: &str) -> PathBuf {
    match env::var_os("COROSYNC_BIN") {
        Some(daemon) if name == "corosync" => daemon.into(),
        Some(daemon) => Path::new(&daemon).with_file_name(name),
        None => target_dir().join(name),
    }
}

/// The directory of the profile: `target/debug` or `target/release`.
pub(super) fn target_dir() -> PathBuf {
    let own_path = env::current_exe().expect("own path");
    let directory = own_path.parent().expect("a file has a directory");
    let is_deps = directory.file_name().is_some_and(|name| name == "deps");
    if is_deps { directory.parent().unwrap_or(directory) } else { directory }.to_path_buf()
}

/// Cargo does not build other packages' binaries for a test; without this the tests would run yesterday's daemon.
fn build_daemon() {
    if env::var_os("COROSYNC_BIN").is_some() {
        return;
    }
    let target_dir = target_dir();
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    // All packages, as `tests/run` builds them: another choice could mean other features, and a second build.
    cargo.args(["build", "--quiet", "--workspace", "--bins"]);
    cargo.current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
    cargo.arg("--target-dir").arg(target_dir.parent().expect("a profile is below a target directory"));
    if target_dir.file_name().is_some_and(|profile| profile == "release") {
        cargo.arg("--release");
    }
    let status = cargo.status().expect("run cargo");
    assert!(status.success(), "the daemon does not build");
}

/// `unshare`, for a program that must not outlive this one.
fn isolated(flags: &[&str]) -> Command {
    // The pid namespace's first process ignores Ctrl-C; but when this process dies of it, setpriv's promise ends
    // unshare, and unshare's promise ends that first process.
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "unshare"]).args(flags).args([
        "--mount",
        "--net",
        "--pid",
        "--fork",
        "--kill-child",
        "--mount-proc",
    ]);
    command
}

fn usable_flags() -> Result<&'static [&'static str], String> {
    let mut refusals = Vec::new();
    let choices: &[&[&str]] = &[&[], &["--user", "--map-root-user"]];
    let skip = usize::from(!rustix::process::geteuid().is_root());
    for &flags in &choices[skip..] {
        // A mount as well, because some containers allow the namespaces but no mounts in them.
        let probe = isolated(flags)
            .args(["sh", "-c", "mount -t tmpfs tmpfs /dev/shm && ip link add probe type bridge"])
            .stdin(Stdio::null())
            .output();
        match probe {
            Ok(output) if output.status.success() => return Ok(flags),
            Ok(output) => refusals.push(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
            Err(error) => refusals.push(format!("setpriv or unshare: {error}")),
        }
    }
    Err(format!("namespaces are refused here: {}", refusals.join("; ")))
}

/// Private, empty places where programs with fixed paths leave things.
fn furnish() {
    for place in ["/dev/shm", "/run"] {
        run(Command::new("mount").args(["-t", "tmpfs", "tmpfs", place]));
    }
    run(Command::new("ip").args(["link", "set", "lo", "up"]));
}

/// Removes what runs that were killed have left.
fn sweep() {
    let Ok(entries) = fs::read_dir(env::temp_dir()) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let owner = name.to_str().and_then(|name| name.strip_prefix(ROOT_PREFIX));
        if owner.is_some_and(|pid| !Path::new("/proc").join(pid).exists()) {
            drop(fs::remove_dir_all(entry.path()));
        }
    }
}

/// Runs a command that must succeed and returns what it printed.
pub(super) fn run(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {}: {errors}", output.status);
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn which(program: &str) -> bool {
    env::var_os("PATH").is_some_and(|path| env::split_paths(&path).any(|place| place.join(program).exists()))
}
