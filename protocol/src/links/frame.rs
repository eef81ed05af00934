//! What links say to each other, sealed like everything else.

use crate::{node::BootId, time::Instant};

/// A number that its issuer never issues twice and knows the age of: the nanoseconds of its clock.
///
/// It need not be hard to guess. Whoever echoes it has authenticated the echo, and nobody can have
/// recorded an echo of what was not yet issued.
#[derive(Clone, Copy, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
pub struct Challenge(pub u64);

impl Challenge {
    /// When it was issued, on the issuer's clock.
    pub const fn issued(self) -> Instant {
        Instant::from_nanos(self.0)
    }
}

/// The addressee's session and one of its challenges, given back.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Echo {
    /// The life that the frame is for.
    pub session: BootId,
    /// A challenge of that life, the last one received.
    pub challenge: Challenge,
}

/// What a link frame is for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kind {
    /// "I am here and do not know you." Wants an answer.
    Hello,
    /// A heartbeat. Wants an answer.
    Ping(Echo),
    /// The answer to a hello, a ping or a probe.
    Pong(Echo),
    /// "Prove that you are alive." The answer to a hello that is not (yet) believed, because another
    /// life holds the sender's number. Wants an answer; says nothing about acceptance.
    Probe(Echo),
    /// "Your number is in use by another live node." Honoured by the life it echoes.
    Refused(Echo),
}

/// A link frame. All have one length, so no answer is larger than what it answers.
///
/// | octets | field          | note                                                      |
/// |--------|----------------|-----------------------------------------------------------|
/// | 0      | kind           | 1 hello, 2 ping, 3 pong, 4 probe, 5 refused               |
/// | 1      | reserved       | zero                                                      |
/// | 2..4   | features       | bits that the sender offers; none yet, unknown ones do not matter |
/// | 4..12  | challenge      | the sender's, to be echoed                                |
/// | 12..20 | echo session   | [`Echo::session`]; zero in a hello                        |
/// | 20..28 | echo challenge | [`Echo::challenge`]; zero in a hello                      |
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct LinkFrame {
    /// What it is for.
    pub kind: Kind,
    /// The sender's, to be echoed.
    pub challenge: Challenge,
}

/// Why a link frame was not understood, although it was authentic.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum LinkFrameError {
    /// Not as long as a link frame.
    #[error("a link frame has {} octets, not {have}", LinkFrame::BYTES)]
    Length {
        /// How long it is.
        have: usize,
    },
    /// A kind without a meaning.
    #[error("link frame kind {kind} is unknown")]
    Kind {
        /// Its code.
        kind: u8,
    },
    /// Octets that must be zero are not.
    #[error("reserved octets of a link frame are set")]
    Reserved,
}

impl LinkFrame {
    /// Its length in octets.
    pub const BYTES: usize = 28;

    /// What it gives back, if it does.
    pub const fn echo(&self) -> Option<Echo> {
        match self.kind {
            Kind::Hello => None,
            Kind::Ping(echo) | Kind::Pong(echo) | Kind::Probe(echo) | Kind::Refused(echo) => Some(echo),
        }
    }

    /// As octets.
    pub fn encode(&self) -> [u8; Self::BYTES] {
        let echo = self.echo().unwrap_or(NO_ECHO);
        let mut octets = [0; Self::BYTES];
        octets[0] = match self.kind {
            Kind::Hello => 1,
            Kind::Ping(_) => 2,
            Kind::Pong(_) => 3,
            Kind::Probe(_) => 4,
            Kind::Refused(_) => 5,
        };
        octets[4..12].copy_from_slice(&self.challenge.0.to_be_bytes());
        octets[12..20].copy_from_slice(&echo.session.0.to_be_bytes());
        octets[20..28].copy_from_slice(&echo.challenge.0.to_be_bytes());
        octets
    }

    /// From octets.
    ///
    /// # Errors
    /// When they are not a link frame.
    pub fn decode(octets: &[u8]) -> Result<Self, LinkFrameError> {
        let octets: &[u8; Self::BYTES] =
            octets.try_into().map_err(|_| LinkFrameError::Length { have: octets.len() })?;
        let word = |at: usize| octets[at..at + 8].iter().fold(0, |word, octet| word << 8 | u64::from(*octet));
        let echo = Echo { session: BootId(word(12)), challenge: Challenge(word(20)) };
        let kind = match octets[0] {
            1 if echo == NO_ECHO => Kind::Hello,
            1 => return Err(LinkFrameError::Reserved),
            2 => Kind::Ping(echo),
            3 => Kind::Pong(echo),
            4 => Kind::Probe(echo),
            5 => Kind::Refused(echo),
            kind => return Err(LinkFrameError::Kind { kind }),
        };
        if octets[1] != 0 {
            return Err(LinkFrameError::Reserved);
        }
        Ok(Self { kind, challenge: Challenge(word(4)) })
    }
}

/// What stands in a hello's echo fields.
const NO_ECHO: Echo = Echo { session: BootId(0), challenge: Challenge(0) };

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PING: [u8; 28] = [
        2, 0, 0, 0, // kind, reserved, features
        0, 0, 0, 0, 0, 0, 0x12, 0x34, // challenge
        0xfe, 0xdc, 0xba, 0x98, 0x76, 0x54, 0x32, 0x10, // echo session
        0, 0, 0, 0, 0x3b, 0x9a, 0xca, 0x00, // echo challenge, one second
    ];

    #[test]
    fn a_link_frame_is_these_octets() {
        let echo = Echo { session: BootId(0xfedc_ba98_7654_3210), challenge: Challenge(1_000_000_000) };
        for (code, kind) in
            [(2, Kind::Ping(echo)), (3, Kind::Pong(echo)), (4, Kind::Probe(echo)), (5, Kind::Refused(echo))]
        {
            let mut octets = PING;
            octets[0] = code;
            let frame = LinkFrame { kind, challenge: Challenge(0x1234) };
            assert_eq!(frame.encode(), octets);
            assert_eq!(LinkFrame::decode(&octets), Ok(frame));
        }
        let mut hello = PING;
        hello[0] = 1;
        hello[12..].fill(0);
        let frame = LinkFrame { kind: Kind::Hello, challenge: Challenge(0x1234) };
        assert_eq!(frame.encode(), hello);
        assert_eq!(LinkFrame::decode(&hello), Ok(frame));
    }

    #[test]
    fn what_is_not_a_link_frame_is_named() {
        for length in 0..PING.len() {
            assert_eq!(LinkFrame::decode(&PING[..length]), Err(LinkFrameError::Length { have: length }));
        }
        assert_eq!(LinkFrame::decode(&[0; 29]), Err(LinkFrameError::Length { have: 29 }));
        let with = |at: usize, octet: u8| {
            let mut octets = PING;
            octets[at] = octet;
            LinkFrame::decode(&octets)
        };
        assert_eq!(with(0, 0), Err(LinkFrameError::Kind { kind: 0 }));
        assert_eq!(with(0, 6), Err(LinkFrameError::Kind { kind: 6 }));
        assert_eq!(with(0, 1), Err(LinkFrameError::Reserved));
        assert_eq!(with(1, 1), Err(LinkFrameError::Reserved));
        assert_eq!(with(3, 1), LinkFrame::decode(&PING), "features of a later version do not matter");
    }

    proptest! {
        #[test]
        fn any_octets_decode_or_fail(octets in proptest::collection::vec(any::<u8>(), 0..40)) {
            if let Ok(frame) = LinkFrame::decode(&octets) {
                prop_assert_eq!(&frame.encode()[4..], &octets[4..]);
            }
        }
    }
}
