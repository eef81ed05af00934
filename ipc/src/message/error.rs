//! `cs_error_t`: what every call of corosync's libraries returns.

/// corosync's error codes, by their numbers (corotypes.h; the gaps are unused).
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[repr(i32)]
pub enum CsError {
    /// No error.
    #[error("CS_OK")]
    Ok = 1,
    /// The library or the connection failed.
    #[error("CS_ERR_LIBRARY")]
    Library = 2,
    /// Wrong version.
    #[error("CS_ERR_VERSION")]
    Version = 3,
    /// Not initialised.
    #[error("CS_ERR_INIT")]
    Init = 4,
    /// Took too long.
    #[error("CS_ERR_TIMEOUT")]
    Timeout = 5,
    /// Not now; repeat it.
    #[error("CS_ERR_TRY_AGAIN")]
    TryAgain = 6,
    /// A parameter is wrong.
    #[error("CS_ERR_INVALID_PARAM")]
    InvalidParam = 7,
    /// Out of memory.
    #[error("CS_ERR_NO_MEMORY")]
    NoMemory = 8,
    /// No such handle.
    #[error("CS_ERR_BAD_HANDLE")]
    BadHandle = 9,
    /// In use.
    #[error("CS_ERR_BUSY")]
    Busy = 10,
    /// Not allowed.
    #[error("CS_ERR_ACCESS")]
    Access = 11,
    /// No such thing.
    #[error("CS_ERR_NOT_EXIST")]
    NotExist = 12,
    /// The name is too long.
    #[error("CS_ERR_NAME_TOO_LONG")]
    NameTooLong = 13,
    /// It is there already.
    #[error("CS_ERR_EXIST")]
    Exist = 14,
    /// Out of space.
    #[error("CS_ERR_NO_SPACE")]
    NoSpace = 15,
    /// Interrupted.
    #[error("CS_ERR_INTERRUPT")]
    Interrupt = 16,
    /// No such name.
    #[error("CS_ERR_NAME_NOT_FOUND")]
    NameNotFound = 17,
    /// Out of some resource.
    #[error("CS_ERR_NO_RESOURCES")]
    NoResources = 18,
    /// This daemon does not do that.
    #[error("CS_ERR_NOT_SUPPORTED")]
    NotSupported = 19,
    /// Not possible in this state.
    #[error("CS_ERR_BAD_OPERATION")]
    BadOperation = 20,
    /// It was tried and failed.
    #[error("CS_ERR_FAILED_OPERATION")]
    FailedOperation = 21,
    /// The message is wrong.
    #[error("CS_ERR_MESSAGE_ERROR")]
    MessageError = 22,
    /// A queue is full.
    #[error("CS_ERR_QUEUE_FULL")]
    QueueFull = 23,
    /// No queue.
    #[error("CS_ERR_QUEUE_NOT_AVAILABLE")]
    QueueNotAvailable = 24,
    /// Wrong flags.
    #[error("CS_ERR_BAD_FLAGS")]
    BadFlags = 25,
    /// Too big.
    #[error("CS_ERR_TOO_BIG")]
    TooBig = 26,
    /// The end of a list.
    #[error("CS_ERR_NO_SECTIONS")]
    NoSections = 27,
    /// No such context.
    #[error("CS_ERR_CONTEXT_NOT_FOUND")]
    ContextNotFound = 28,
    /// Too many groups.
    #[error("CS_ERR_TOO_MANY_GROUPS")]
    TooManyGroups = 30,
    /// A security check failed.
    #[error("CS_ERR_SECURITY")]
    Security = 100,
}

impl CsError {
    /// The code with this number, or `None` for a number that corosync does not use.
    pub const fn from_number(number: i32) -> Option<Self> {
        Some(match number {
            1 => Self::Ok,
            2 => Self::Library,
            3 => Self::Version,
            4 => Self::Init,
            5 => Self::Timeout,
            6 => Self::TryAgain,
            7 => Self::InvalidParam,
            8 => Self::NoMemory,
            9 => Self::BadHandle,
            10 => Self::Busy,
            11 => Self::Access,
            12 => Self::NotExist,
            13 => Self::NameTooLong,
            14 => Self::Exist,
            15 => Self::NoSpace,
            16 => Self::Interrupt,
            17 => Self::NameNotFound,
            18 => Self::NoResources,
            19 => Self::NotSupported,
            20 => Self::BadOperation,
            21 => Self::FailedOperation,
            22 => Self::MessageError,
            23 => Self::QueueFull,
            24 => Self::QueueNotAvailable,
            25 => Self::BadFlags,
            26 => Self::TooBig,
            27 => Self::NoSections,
            28 => Self::ContextNotFound,
            30 => Self::TooManyGroups,
            100 => Self::Security,
            _ => return None,
        })
    }

    /// What corosync's libraries make of a system call's error on the connection.
    pub fn from_errno(errno: rustix::io::Errno) -> Self {
        use rustix::io::Errno;
        match errno {
            Errno::BADF => Self::BadHandle,
            Errno::NOMEM => Self::NoMemory,
            Errno::NOMSG | Errno::NOBUFS | Errno::TIMEDOUT | Errno::AGAIN => Self::TryAgain,
            Errno::BADE => Self::FailedOperation,
            Errno::TIME => Self::Timeout,
            Errno::INVAL => Self::InvalidParam,
            Errno::BUSY => Self::Busy,
            Errno::ACCESS => Self::Access,
            Errno::OVERFLOW => Self::NameTooLong,
            Errno::EXIST => Self::Exist,
            Errno::NOSPC => Self::NoSpace,
            Errno::INTR => Self::Interrupt,
            Errno::NOENT | Errno::NODEV => Self::NotExist,
            Errno::NOSYS | Errno::NOTSUP => Self::NotSupported,
            Errno::BADMSG => Self::MessageError,
            Errno::MSGSIZE | Errno::TOOBIG => Self::TooBig,
            _ => Self::Library,
        }
    }
}
