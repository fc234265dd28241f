//! quipu-server
