//! A process of a test: its output in a file, its end as an event.

use std::{
    fs::{self, File},
    os::unix::process::ExitStatusExt as _,
    path::{Path, PathBuf},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    time::Duration,
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open},
};

/// How a process ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Ended {
    /// With this exit code.
    Exit(i32),
    /// By this signal.
    Signal(i32),
}

/// A process and where its standard error goes. It is killed when dropped.
#[derive(Debug)]
pub struct Process {
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts `command`; what it writes to standard error is appended to the file `log`.
    ///
    /// Standard input and output are as the command has them.
    #[must_use]
    pub fn start(command: &mut Command, log: &Path) -> Self {
        let file = File::options().create(true).append(true).open(log).expect("open a log file");
        let child = command.stderr(file).spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        Self { child, log: log.to_path_buf() }
    }

    /// Its pid.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Its piped standard input, once.
    pub fn stdin(&mut self) -> Option<ChildStdin> {
        self.child.stdin.take()
    }

    /// Its piped standard output, once.
    pub fn stdout(&mut self) -> Option<ChildStdout> {
        self.child.stdout.take()
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        kill_process(self.raw_pid(), signal).expect("signal a child that was not waited for");
    }

    /// Waits for its end; `None` if that takes longer than `limit`.
    pub fn wait(&mut self, limit: Duration) -> Option<Ended> {
        let handle = pidfd_open(self.raw_pid(), PidfdFlags::empty()).ok();
        if let Some(handle) = handle {
            let limit = Timespec::try_from(limit).expect("a limit of seconds");
            let ready =
                poll(&mut [PollFd::new(&handle, PollFlags::IN)], Some(&limit)).expect("poll a process");
            if ready == 0 {
                return None;
            }
        }
        let status = self.child.wait().expect("wait for a child");
        Some(match status.code() {
            Some(code) => Ended::Exit(code),
            None => Ended::Signal(status.signal().unwrap_or(0)),
        })
    }

    /// Whether it has not ended yet.
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("look at a child").is_none()
    }

    /// What it wrote to standard error so far.
    #[must_use]
    pub fn log(&self) -> String {
        let octets = fs::read(&self.log).unwrap_or_default();
        String::from_utf8_lossy(&octets).into_owned()
    }

    /// Processor time it has used.
    #[must_use]
    pub fn cpu_time(&self) -> Duration {
        // Fields are counted from the end of the name, which may hold anything.
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid())).expect("read a child's stat");
        let fields: Vec<&str> =
            stat.rsplit(')').next().expect("a name in parentheses").split_whitespace().collect();
        let ticks: u64 =
            [11, 12].iter().map(|&field| fields[field].parse::<u64>().expect("a count of ticks")).sum();
        Duration::from_millis(ticks * 1000 / rustix::param::clock_ticks_per_second())
    }

    /// Its resident memory in octets.
    #[must_use]
    pub fn resident(&self) -> u64 {
        let status =
            fs::read_to_string(format!("/proc/{}/status", self.pid())).expect("read a child's status");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a process has memory");
        let kilobytes: u64 = line.trim().trim_end_matches("kB").trim().parse().expect("a size in kB");
        kilobytes * 1024
    }

    fn raw_pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// A command with no input whose output is thrown away, unless changed.
#[must_use]
pub(super) fn quiet(program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = Command::new(program);
    command.stdin(Stdio::null()).stdout(Stdio::null());
    command
}
