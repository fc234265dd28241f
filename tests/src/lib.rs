//! End-to-end tests on real processes; one file per promise in `tests/`.
