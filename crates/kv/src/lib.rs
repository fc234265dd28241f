//! quipu-kv
