//! Carry frames between two nodes over QUIC.
