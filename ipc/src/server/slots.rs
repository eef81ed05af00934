//! Everybody who is connected, by a number that is never used twice.

use crate::message::ClientId;

/// Places that are used again under new numbers: low bits are the place, high bits a serial number
/// that starts at one.
#[derive(Debug)]
pub(super) struct Slots<T> {
    places: Vec<Option<(u64, T)>>,
    free: Vec<usize>,
    serial: u64,
}

impl<T> Default for Slots<T> {
    fn default() -> Self {
        Self { places: Vec::new(), free: Vec::new(), serial: 0 }
    }
}

impl<T> Slots<T> {
    /// How many are taken.
    pub(super) fn len(&self) -> usize {
        self.places.len() - self.free.len()
    }

    /// Takes a place for what `make` makes of its number. `None` if all 65,536 are taken.
    pub(super) fn insert(&mut self, make: impl FnOnce(ClientId) -> T) -> Option<ClientId> {
        let place = match self.free.pop() {
            Some(place) => place,
            None if self.places.len() < PLACES => {
                self.places.push(None);
                self.places.len() - 1
            }
            None => return None,
        };
        self.serial += 1;
        let id = ClientId(self.serial << PLACE_BITS | place as u64);
        self.places[place] = Some((self.serial, make(id)));
        Some(id)
    }

    pub(super) fn get(&self, id: ClientId) -> Option<&T> {
        let (serial, place) = split(id);
        match self.places.get(place)? {
            Some((held, value)) if *held == serial => Some(value),
            _ => None,
        }
    }

    pub(super) fn get_mut(&mut self, id: ClientId) -> Option<&mut T> {
        let (serial, place) = split(id);
        match self.places.get_mut(place)? {
            Some((held, value)) if *held == serial => Some(value),
            _ => None,
        }
    }

    /// Puts what `change` makes of the value in its place.
    pub(super) fn change(&mut self, id: ClientId, change: impl FnOnce(T) -> T) {
        let (serial, place) = split(id);
        if let Some(slot) = self.places.get_mut(place)
            && let Some((_, value)) = slot.take_if(|(held, _)| *held == serial)
        {
            *slot = Some((serial, change(value)));
        }
    }

    pub(super) fn remove(&mut self, id: ClientId) -> Option<T> {
        let (serial, place) = split(id);
        let slot = self.places.get_mut(place)?;
        let (_, value) = slot.take_if(|(held, _)| *held == serial)?;
        self.free.push(place);
        Some(value)
    }

    pub(super) fn values_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.places.iter_mut().flatten().map(|(_, value)| value)
    }
}

fn split(id: ClientId) -> (u64, usize) {
    (id.0 >> PLACE_BITS, (id.0 as usize) & (PLACES - 1))
}

const PLACE_BITS: u32 = 16;
const PLACES: usize = 1 << PLACE_BITS;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_used_again_and_a_number_is_not() {
        let mut slots = Slots::default();
        let first = slots.insert(|_| 'a').expect("room");
        assert_eq!(slots.remove(first), Some('a'));
        let second = slots.insert(|_| 'b').expect("room");
        assert_ne!(first, second);
        assert_eq!(slots.get_mut(first), None);
        assert_eq!(slots.remove(first), None);
        assert_eq!(slots.get_mut(second), Some(&mut 'b'));
        assert_eq!(slots.len(), 1);
        assert_eq!(slots.get_mut(ClientId(0)), None);
    }
}
