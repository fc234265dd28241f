//! quipu-broker
