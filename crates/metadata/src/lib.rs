//! quipu-metadata
