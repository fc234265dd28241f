//! quipu-client
