//! The network between the nodes: for each ordered pair its own loss, delay and worse.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::AddAssign,
    rc::Rc,
    time::Duration,
};

use protocol::Instant;

use crate::rng::Rng;

/// How one direction of a path behaves. Rates are per 1,000 datagrams.
#[derive(Clone, Copy, Debug)]
pub struct Quality {
    /// Least time on the way.
    pub delay: Duration,
    /// Added at random, up to this.
    pub jitter: Duration,
    /// Lost.
    pub loss: u32,
    /// Delivered twice, the second time later.
    pub duplicate: u32,
    /// Overtaken by others: delayed once more by up to `reorder_delay`.
    pub reorder: u32,
    /// See `reorder`.
    pub reorder_delay: Duration,
    /// Delivered with one bit changed.
    pub flip: u32,
    /// Delivered with its end cut off.
    pub truncate: u32,
}

impl Default for Quality {
    fn default() -> Self {
        Self {
            delay: Duration::from_micros(500),
            jitter: Duration::from_micros(50),
            loss: 0,
            duplicate: 0,
            reorder: 0,
            reorder_delay: Duration::from_millis(20),
            flip: 0,
            truncate: 0,
        }
    }
}

/// A datagram that somebody recorded on the way.
#[derive(Clone, Debug)]
pub struct Captured {
    /// Index of the node that sent it.
    pub from: usize,
    /// Index of the node it was for.
    pub to: usize,
    /// Its octets.
    pub datagram: Rc<[u8]>,
}

/// A datagram that will arrive.
#[derive(Clone, Debug)]
pub struct Arrival {
    /// When.
    pub at: Instant,
    /// Its octets.
    pub datagram: Rc<[u8]>,
}

/// What the network did, in datagrams.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct NetworkCounts {
    /// Given to the network.
    pub sent: u64,
    /// Lost by chance.
    pub lost: u64,
    /// Lost at a cut.
    pub cut: u64,
    /// Delivered twice.
    pub duplicated: u64,
    /// Delayed so that others overtook.
    pub reordered: u64,
    /// Changed or shortened.
    pub damaged: u64,
}

impl AddAssign for NetworkCounts {
    fn add_assign(&mut self, other: Self) {
        self.sent += other.sent;
        self.lost += other.lost;
        self.cut += other.cut;
        self.duplicated += other.duplicated;
        self.reordered += other.reordered;
        self.damaged += other.damaged;
    }
}

/// All paths.
#[derive(Debug)]
pub struct Network {
    rng: Rng,
    base: Quality,
    paths: BTreeMap<(usize, usize), Quality>,
    cuts: BTreeSet<(usize, usize)>,
    last_arrival: BTreeMap<(usize, usize), Instant>,
    link_free: BTreeMap<usize, Instant>,
    captured: Vec<Captured>,
    counts: NetworkCounts,
}

impl Network {
    /// A network where all paths are alike.
    pub fn new(rng: Rng, base: Quality) -> Self {
        Self {
            rng,
            base,
            paths: BTreeMap::new(),
            cuts: BTreeSet::new(),
            last_arrival: BTreeMap::new(),
            link_free: BTreeMap::new(),
            captured: Vec::new(),
            counts: NetworkCounts::default(),
        }
    }

    /// What it did so far.
    pub fn counts(&self) -> NetworkCounts {
        self.counts
    }

    /// How all paths without a quality of their own behave.
    pub fn base(&self) -> Quality {
        self.base
    }

    /// Changes [`Self::base`].
    pub fn set_base(&mut self, quality: Quality) {
        self.base = quality;
    }

    /// Gives one direction a quality of its own.
    pub fn set_path(&mut self, from: usize, to: usize, quality: Quality) {
        self.paths.insert((from, to), quality);
    }

    /// Drops everything from `from` to `to` until healed.
    pub fn cut(&mut self, from: usize, to: usize) {
        self.cuts.insert((from, to));
    }

    /// Ends a cut.
    pub fn mend(&mut self, from: usize, to: usize) {
        self.cuts.remove(&(from, to));
    }

    /// No cut any more, and all paths as `base`. What was sent before may still be long on its way, but
    /// nothing waits behind it.
    pub fn heal(&mut self, base: Quality) {
        self.cuts.clear();
        self.paths.clear();
        self.last_arrival.clear();
        self.base = base;
    }

    /// Whether datagrams pass from `from` to `to`, now and then at least.
    pub fn passes(&self, from: usize, to: usize) -> bool {
        !self.cuts.contains(&(from, to))
    }

    /// Takes a datagram and says when it arrives, which may be never or twice.
    pub fn send(
        &mut self,
        now: Instant,
        from: usize,
        to: usize,
        datagram: &Rc<[u8]>,
        out: &mut Vec<Arrival>,
    ) {
        self.counts.sent += 1;
        self.capture(from, to, datagram);
        let leaves = self.serialise(now, from, datagram.len());
        if !self.passes(from, to) {
            self.counts.cut += 1;
            return;
        }
        let quality = *self.paths.get(&(from, to)).unwrap_or(&self.base);
        if self.rng.chance(quality.loss) {
            self.counts.lost += 1;
            return;
        }
        let mut at = leaves + quality.delay + self.rng.duration(Duration::ZERO..quality.jitter);
        if self.rng.chance(quality.reorder) {
            self.counts.reordered += 1;
            at += self.rng.duration(Duration::ZERO..quality.reorder_delay);
        } else {
            // Jitter alone does not reorder.
            let last = self.last_arrival.entry((from, to)).or_insert(at);
            at = at.max(*last);
            *last = at;
        }
        if self.rng.chance(quality.duplicate) {
            self.counts.duplicated += 1;
            let later = at + self.rng.duration(Duration::ZERO..quality.reorder_delay);
            out.push(Arrival { at: later, datagram: Rc::clone(datagram) });
        }
        let datagram = self.damage(quality, datagram);
        out.push(Arrival { at, datagram });
    }

    /// Some datagram that was on the way earlier in this run.
    pub fn pick_captured(&mut self) -> Option<Captured> {
        if self.captured.is_empty() {
            return None;
        }
        let index = self.rng.index(self.captured.len());
        self.captured.get(index).cloned()
    }

    /// When a datagram has left `from`'s interface.
    fn serialise(&mut self, now: Instant, from: usize, len: usize) -> Instant {
        let free = self.link_free.entry(from).or_insert(now);
        *free = (*free).max(now) + Duration::from_nanos(NANOS_PER_OCTET * len as u64);
        *free
    }

    /// Keeps a sample of everything sent, old and new.
    fn capture(&mut self, from: usize, to: usize, datagram: &Rc<[u8]>) {
        let captured = Captured { from, to, datagram: Rc::clone(datagram) };
        if self.captured.len() < CAPTURED_MAX {
            self.captured.push(captured);
        } else if self.rng.chance(CAPTURE_RATE)
            && let index = self.rng.index(self.captured.len())
            && let Some(slot) = self.captured.get_mut(index)
        {
            *slot = captured;
        }
    }

    /// The datagram, or a damaged copy.
    fn damage(&mut self, quality: Quality, datagram: &Rc<[u8]>) -> Rc<[u8]> {
        if datagram.is_empty() {
            return Rc::clone(datagram);
        }
        if self.rng.chance(quality.flip) {
            self.counts.damaged += 1;
            let mut copy = datagram.to_vec();
            let index = self.rng.index(copy.len());
            let bit = self.rng.below(8);
            if let Some(octet) = copy.get_mut(index) {
                *octet ^= 1 << bit;
            }
            copy.into()
        } else if self.rng.chance(quality.truncate) {
            self.counts.damaged += 1;
            let len = self.rng.index(datagram.len());
            datagram.get(..len).unwrap_or_default().into()
        } else {
            Rc::clone(datagram)
        }
    }
}

/// 10 Gb/s.
const NANOS_PER_OCTET: u64 = 1;
/// How many datagrams [`Network::pick_captured`] chooses from.
const CAPTURED_MAX: usize = 512;
/// How many of 1,000 datagrams replace an older one there.
const CAPTURE_RATE: u32 = 50;

#[cfg(test)]
mod tests {
    use super::*;

    fn arrivals(quality: Quality, count: usize) -> Vec<Arrival> {
        let mut network = Network::new(Rng::new(5), quality);
        let mut out = Vec::new();
        for index in 0..count {
            let datagram: Rc<[u8]> = index.to_le_bytes().into();
            network.send(Instant::from_nanos(index as u64 * 1000), 0, 1, &datagram, &mut out);
        }
        out
    }

    fn order(arrivals: &[Arrival]) -> Vec<usize> {
        let mut sorted: Vec<&Arrival> = arrivals.iter().collect();
        sorted.sort_by_key(|arrival| arrival.at);
        sorted
            .iter()
            .map(|arrival| usize::from_le_bytes(arrival.datagram.as_ref().try_into().expect("a usize")))
            .collect()
    }

    #[test]
    fn a_good_path_keeps_everything_in_order() {
        assert_eq!(order(&arrivals(Quality::default(), 1000)), (0..1000).collect::<Vec<_>>());
    }

    #[test]
    fn loss_and_duplication_come_at_their_rates() {
        let quality = Quality { loss: 300, duplicate: 0, ..Quality::default() };
        assert!((600..800).contains(&arrivals(quality, 1000).len()));
        let quality = Quality { duplicate: 100, ..Quality::default() };
        assert!((1050..1150).contains(&arrivals(quality, 1000).len()));
    }

    #[test]
    fn reordered_datagrams_are_overtaken() {
        let quality = Quality { reorder: 100, ..Quality::default() };
        let order = order(&arrivals(quality, 1000));
        assert!(!order.is_sorted());
        assert_eq!(order.len(), 1000);
    }

    #[test]
    fn a_cut_is_one_way() {
        let mut network = Network::new(Rng::new(5), Quality::default());
        let (datagram, mut out): (Rc<[u8]>, _) = (vec![1].into(), Vec::new());
        network.cut(0, 1);
        network.send(Instant::ZERO, 0, 1, &datagram, &mut out);
        assert!(out.is_empty());
        network.send(Instant::ZERO, 1, 0, &datagram, &mut out);
        assert_eq!(out.len(), 1);
        network.heal(Quality::default());
        network.send(Instant::ZERO, 0, 1, &datagram, &mut out);
        assert_eq!(out.len(), 2);
    }
}
