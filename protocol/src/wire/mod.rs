//! Frames as octets.
