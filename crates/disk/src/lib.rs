//! quipu-disk
