//! quipu-partition
