//! Who is who: proving sessions, replacing them after a restart, refusing duplicates.
//!
//! Three questions decide about a life of a node that is not the proven one:
//!
//! 1. *Is it alive?* It is, if it echoes a fresh challenge. Until then nothing is remembered of it.
//! 2. *Does it send from its node's configured address?* Only then it can ever be accepted.
//! 3. *Is the proven life alive, too?* It is, if it echoes a challenge issued after the other life
//!    appeared. Then the node id is used twice: the proven life stays, the other is told and stops.
//!
//! An attacker without the key can delay or repeat, but not produce an echo; so it can neither take a
//! node's place nor have a node refused.

use std::{net::SocketAddr, time::Duration};

use super::{
    DatagramError, LinkEvent, Links, Recipients,
    frame::{Challenge, Echo, Kind, LinkFrame, LinkFrameError},
    peer::{Claim, Contest, Rtt, Session},
};
use crate::{
    node::{BootId, Member, NodeId},
    seal::{Class, Opener, Sealed},
    time::Instant,
};

impl Links {
    /// A link frame of a proven session.
    pub(super) fn on_proven(
        &mut self,
        now: Instant,
        index: usize,
        frame: LinkFrame,
    ) -> Result<(), DatagramError> {
        let echo = frame.echo().filter(|echo| self.is_fresh(now, *echo, Challenge(0)));
        let peer = &mut self.peers[index];
        let (node, address) = (peer.node, peer.address);
        let Some(session) = &mut peer.session else { return Err(DatagramError::Unproven { node }) };
        let member = session.opener.member();
        session.challenge = session.challenge.max(frame.challenge);
        if let Some(echo) = echo {
            session.echoed = session.echoed.max(echo.challenge);
            if let Kind::Pong(_) = frame.kind {
                session.rtt = Some(Rtt::update(session.rtt, now.since(echo.challenge.issued())));
            }
            if peer.contest.is_some_and(|contest| echo.challenge >= contest.after) {
                self.refuse_contender(now, index, member);
            }
        }
        match (frame.kind, echo) {
            (Kind::Hello | Kind::Ping(_) | Kind::Probe(_), _) => {
                let echo = Echo { session: member.boot, challenge: frame.challenge };
                self.say(now, node, address, Kind::Pong(echo));
            }
            (Kind::Pong(_), Some(_)) => {}
            (Kind::Refused(_), Some(_)) => self.on_refused(member),
            (Kind::Pong(_) | Kind::Refused(_), None) => return Err(DatagramError::Stale { node }),
        }
        Ok(())
    }

    /// A datagram from a peer's address, of a session that is not proven.
    pub(super) fn on_unproven(
        &mut self,
        now: Instant,
        source: SocketAddr,
        index: usize,
        sealed: Sealed<'_>,
    ) -> Result<(), DatagramError> {
        let node = sealed.header.sender;
        check_shape(&sealed)?;
        if !self.peers[index].attempts.take(now) {
            return Err(DatagramError::Limited { node });
        }
        let claim = self.open_claim(source, true, sealed)?;
        let proof = self.proof(now, &claim, self.peers[index].floor);
        let echo = Echo { session: claim.boot, challenge: claim.frame.challenge };
        let contested = self.peers[index].session.is_some();
        match (claim.frame.kind, proof) {
            (Kind::Refused(_), Some(_)) => self.on_refused(Member { node, boot: claim.boot }),
            (Kind::Probe(_), Some(_)) => self.say(now, node, source, Kind::Pong(echo)),
            (Kind::Hello | Kind::Ping(_) | Kind::Pong(_), Some(_)) if contested => {
                self.contend(now, index, claim);
            }
            (Kind::Hello | Kind::Ping(_) | Kind::Pong(_), Some(proof)) => {
                self.accept(now, index, &claim, proof);
            }
            (Kind::Hello | Kind::Ping(_), None) if contested => {
                self.say(now, node, source, Kind::Probe(echo));
            }
            (Kind::Hello | Kind::Ping(_), None) => self.say(now, node, source, Kind::Pong(echo)),
            (Kind::Pong(_) | Kind::Probe(_) | Kind::Refused(_), None) => {
                return Err(DatagramError::Stale { node });
            }
        }
        Ok(())
    }

    /// A datagram that claims to be a peer's but comes from elsewhere. It is dropped in any case; but
    /// if it is a second life of a peer that is up, it learns why.
    pub(super) fn on_stranger(
        &mut self,
        now: Instant,
        source: SocketAddr,
        index: usize,
        sealed: Sealed<'_>,
    ) -> DatagramError {
        let node = sealed.header.sender;
        let dropped = DatagramError::UnlistedSource { node, source_address: source };
        let peer = &self.peers[index];
        let incumbent = peer.session.as_ref().map(|session| session.opener.member().boot);
        let other = incumbent.is_some_and(|boot| boot != sealed.header.session);
        if !other || check_shape(&sealed).is_err() || !self.strangers.take(now) {
            return dropped;
        }
        let Ok(claim) = self.open_claim(source, false, sealed) else { return dropped };
        match (claim.frame.kind, self.proof(now, &claim, self.peers[index].floor)) {
            (Kind::Hello | Kind::Ping(_) | Kind::Pong(_), Some(_)) => self.contend(now, index, claim),
            (Kind::Hello | Kind::Ping(_), None) => {
                let echo = Echo { session: claim.boot, challenge: claim.frame.challenge };
                self.say(now, node, source, Kind::Probe(echo));
            }
            _ => {}
        }
        dropped
    }

    /// A datagram with this node's own number. Whoever has peers was there first.
    pub(super) fn on_namesake(
        &mut self,
        now: Instant,
        source: SocketAddr,
        sealed: Sealed<'_>,
    ) -> Result<(), DatagramError> {
        let node = self.me.node;
        if sealed.header.session == self.me.boot {
            return Err(DatagramError::Reflected);
        }
        check_shape(&sealed)?;
        if !self.strangers.take(now) {
            return Err(DatagramError::Limited { node });
        }
        let claim = self.open_claim(source, false, sealed)?;
        let proof = self.proof(now, &claim, Challenge(0));
        let echo = Echo { session: claim.boot, challenge: claim.frame.challenge };
        let here_first = self.peers.iter().any(|peer| peer.session.is_some());
        match (claim.frame.kind, proof) {
            (Kind::Refused(_), Some(_)) if !here_first => {
                self.on_refused(Member { node, boot: claim.boot });
            }
            (Kind::Probe(_), Some(_)) => self.say(now, node, source, Kind::Pong(echo)),
            (Kind::Hello | Kind::Ping(_) | Kind::Pong(_), Some(_)) if here_first => {
                self.say(now, node, source, Kind::Refused(echo));
                if due(&mut self.namesake_reported, now) {
                    self.report_duplicate(self.me, claim.boot, source);
                }
            }
            (Kind::Hello | Kind::Ping(_), None) if here_first => {
                self.say(now, node, source, Kind::Probe(echo));
            }
            (_, Some(_)) | (Kind::Hello | Kind::Ping(_), None) => {
                return Err(DatagramError::Unproven { node });
            }
            (Kind::Pong(_) | Kind::Probe(_) | Kind::Refused(_), None) => {
                return Err(DatagramError::Stale { node });
            }
        }
        Ok(())
    }

    /// A proven life waits for the place of another: asks that one whether it is still there.
    fn contend(&mut self, now: Instant, index: usize, claim: Claim) {
        let peer = &mut self.peers[index];
        match (&mut peer.contest, &peer.session) {
            (Some(Contest { claim: last, .. }), _)
                if last.boot == claim.boot && last.number < claim.number =>
            {
                *last = claim;
            }
            (None, Some(session)) => {
                let wait = session.patience() / Contest::ASKS;
                let (after, asks_left) = (self.challenges.next, Contest::ASKS);
                peer.contest = Some(Contest { claim, after, due: now, wait, asks_left });
                self.settle_contest(now, index);
            }
            // Overtaken by a later claim; or another contender, and one at a time is enough: it tries
            // again soon.
            _ => {}
        }
    }

    /// Both lives are alive.
    fn refuse_contender(&mut self, now: Instant, index: usize, incumbent: Member) {
        let Some(Contest { claim, .. }) = self.peers[index].contest.take() else { return };
        let echo = Echo { session: claim.boot, challenge: claim.frame.challenge };
        self.say(now, incumbent.node, claim.source, Kind::Refused(echo));
        if due(&mut self.peers[index].reported, now) {
            self.report_duplicate(incumbent, claim.boot, claim.source);
        }
    }

    /// Asks the old life again, if it is time. If it kept silent after all questions, the new one takes
    /// its place, provided that it is where its node belongs.
    pub(super) fn settle_contest(&mut self, now: Instant, index: usize) {
        let Some(contest) = self.peers[index].contest.as_mut().filter(|contest| contest.due <= now) else {
            return;
        };
        if contest.asks_left > 0 {
            contest.asks_left -= 1;
            contest.due = now + contest.wait;
            return self.ping(now, index);
        }
        let Contest { claim, after, .. } = *contest;
        self.peers[index].contest = None;
        if claim.listed {
            self.end_session(now, index);
            self.accept(now, index, &claim, after);
        }
    }

    /// A session is proven: `proof` is the challenge that it echoed.
    fn accept(&mut self, now: Instant, index: usize, claim: &Claim, proof: Challenge) {
        let peer = &mut self.peers[index];
        let (node, address) = (peer.node, peer.address);
        let member = Member { node, boot: claim.boot };
        peer.session = Some(Session {
            opener: Opener::after(&self.cluster, member, claim.number),
            heard: now,
            echoed: proof,
            challenge: claim.frame.challenge,
            rtt: None,
        });
        peer.contest = None;
        peer.beat = now + self.jitter.around(self.heartbeat);
        tracing::info!(node = %node, session = %member.boot, %address, "peer is up");
        self.events.push_back(LinkEvent::PeerUp(member));
        self.refresh_batch();
        // Either proves this node to the peer; a ping also asks for the round trip.
        let echo = Echo { session: claim.boot, challenge: claim.frame.challenge };
        let answer = match claim.frame.kind {
            Kind::Ping(_) => Kind::Pong(echo),
            _ => Kind::Ping(echo),
        };
        self.say(now, node, address, answer);
    }

    /// This node is told that it is a duplicate.
    fn on_refused(&mut self, by: Member) {
        if !self.refused {
            self.refused = true;
            tracing::error!(node = %self.me.node, by = %by, "another live node uses this node id");
            self.events.push_back(LinkEvent::Refused { by });
        }
    }

    fn report_duplicate(&mut self, incumbent: Member, refused: BootId, source: SocketAddr) {
        tracing::warn!(node = %incumbent.node, session = %refused, %source, "duplicate node id refused");
        self.events.push_back(LinkEvent::DuplicateNode { incumbent, refused, source });
    }

    /// Says something to one node, with a challenge of its own.
    pub(super) fn say(&mut self, now: Instant, node: NodeId, to: SocketAddr, kind: Kind) {
        if !self.refused {
            let frame = LinkFrame { kind, challenge: self.challenges.issue(now) };
            self.post(Class::Link, Some(node), Recipients::One(to), &frame.encode());
        }
    }

    /// Opens a datagram of an unproven session.
    fn open_claim(
        &self,
        source: SocketAddr,
        listed: bool,
        sealed: Sealed<'_>,
    ) -> Result<Claim, DatagramError> {
        let header = sealed.header;
        let node = header.sender;
        let frame = sealed
            .open_once(&self.cluster, self.me.node)
            .map_err(|cause| DatagramError::Open { node, cause })?;
        let frame = LinkFrame::decode(frame).map_err(|cause| DatagramError::LinkFrame { node, cause })?;
        Ok(Claim { boot: header.session, source, listed, number: header.number, frame })
    }

    /// The challenge whose echo proves that the claim's sender is alive.
    fn proof(&self, now: Instant, claim: &Claim, floor: Challenge) -> Option<Challenge> {
        claim.frame.echo().filter(|echo| self.is_fresh(now, *echo, floor)).map(|echo| echo.challenge)
    }

    fn is_fresh(&self, now: Instant, echo: Echo, floor: Challenge) -> bool {
        echo.session == self.me.boot && self.challenges.is_fresh(echo.challenge, floor, now)
    }
}

/// Whether a datagram of an unproven session can be a link frame at all.
fn check_shape(sealed: &Sealed<'_>) -> Result<(), DatagramError> {
    let node = sealed.header.sender;
    if sealed.header.class != Class::Link {
        return Err(DatagramError::Unproven { node });
    }
    if sealed.frame_bytes() != LinkFrame::BYTES {
        let cause = LinkFrameError::Length { have: sealed.frame_bytes() };
        return Err(DatagramError::LinkFrame { node, cause });
    }
    Ok(())
}

/// Whether it is time to report something again; if so, it counts as reported.
fn due(reported: &mut Option<Instant>, now: Instant) -> bool {
    let due = reported.is_none_or(|last| now.since(last) >= REPORT_EVERY);
    if due {
        *reported = Some(now);
    }
    due
}

/// The least time between two reports of one duplicate.
const REPORT_EVERY: Duration = Duration::from_secs(10);
