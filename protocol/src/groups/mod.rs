//! Many small messages in one frame, one large message in many.

mod assembler;
mod packer;

pub use assembler::Assembler;
pub use packer::{Packed, Packer};
