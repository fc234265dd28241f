//! quipu-cli
