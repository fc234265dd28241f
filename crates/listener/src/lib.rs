//! quipu-listener
