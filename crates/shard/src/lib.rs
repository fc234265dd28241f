//! quipu-shard
