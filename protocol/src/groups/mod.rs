//! Many small messages in one frame, one large message in many.
