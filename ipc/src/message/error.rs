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
