//! quipu-segment
