//! quipu-consensus
