//! quipu-testkit
