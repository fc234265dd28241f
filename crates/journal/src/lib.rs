//! quipu-journal
